# shellcheck shell=bash
# The gateway's books: every frame that came in, or that it made, went out, was used or was dropped.
# Sourced after ui.sh and gateway.sh.

# books: one line per account, `account packets`, as the gateway reports them now.
books() {
  api /v1/status | jq -r '.books | to_entries[] | "\(.key) \(.value)"'
}

# books_difference: what came in or was made, less everything that has ended or is held.
books_difference() {
  books | awk '
    $1 == "received" || $1 == "generated" || $1 == "copies" || $1 == "fragments" { sum += $2 }
    $1 == "sent" || $1 == "to-host" || $1 == "consumed" || $1 == "dropped" || $1 == "held" { sum -= $2 }
    END { printf "%.0f\n", sum }'
}

books_even() { [[ $(books_difference) == 0 ]]; }

# books_balance: fails unless the books add up exactly once the traffic has drained.
books_balance() {
  wait_for 10 books_even || {
    books | indent >&2
    fail "the books are off by $(books_difference) packets"
  }
  at_least "packets received, in the books" "$(books | awk '$1 == "received" { print $2 }')" 1
  books | indent
  ok "the books add up exactly"
}
