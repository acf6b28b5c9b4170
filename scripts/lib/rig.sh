# shellcheck shell=bash
# shellcheck source-path=SCRIPTDIR
# Everything a script on the rig sources: ROOT, and the functions of this folder.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=ui.sh
source "$ROOT/scripts/lib/ui.sh"
# shellcheck source=install.sh
source "$ROOT/scripts/lib/install.sh"
# shellcheck source=netns.sh
source "$ROOT/scripts/lib/netns.sh"
# shellcheck source=gateway.sh
source "$ROOT/scripts/lib/gateway.sh"
# shellcheck source=books.sh
source "$ROOT/scripts/lib/books.sh"
# shellcheck source=traffic.sh
source "$ROOT/scripts/lib/traffic.sh"
# shellcheck source=reload.sh
source "$ROOT/scripts/lib/reload.sh"
# shellcheck source=peers.sh
source "$ROOT/scripts/lib/peers.sh"
