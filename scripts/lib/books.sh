# shellcheck shell=bash
# The gateway's books: every frame that came in, or that it made, went out, was used or was dropped.
# Sourced after ui.sh and gateway.sh.

# books: one line per account, `account packets`, summed over the workers and the slow-path core.
books() {
  api /v1/status | jq -r '
    (.workers + [.["slow-path"]]) as $cores
    | def all(f): [$cores[] | f // 0] | add;
    {
      received: all(.rx.packets), generated: all(.generated), fragments: all(.["fragments-made"]),
      sent: all(.tx.packets), "to-host": all(.["to-host"]), consumed: all(.consumed),
      dropped: all([.drops[].packets] | add), held: all(.held),
      "handed-over": all(.["handed-over"]), "taken-over": all(.["taken-over"])
    } | to_entries[] | "\(.key) \(.value)"'
}

# books_difference: what came in or was made, less everything that has ended or is held.
books_difference() {
  books | awk '
    $1 ~ /^(received|generated|fragments)$/ { sum += $2 }
    $1 ~ /^(sent|to-host|consumed|dropped|held)$/ { sum -= $2 }
    END { if (!NR) print "unknown"; else printf "%.0f\n", sum }'
}

# account NAME: the packets of one account.
account() { books | awk -v name="$1" '$1 == name { print $2 }'; }

books_even() { [[ $(books_difference) == 0 ]]; }

# books_balance: fails unless the books add up exactly once the traffic has drained.
books_balance() {
  wait_for 10 books_even || {
    books | indent >&2
    fail "the books are off by $(books_difference) packets"
  }
  at_least "packets received, in the books" "$(account received)" 1
  equal "packets handed over, less those taken over or dropped at a full ring" \
    "$(($(account handed-over) - $(account taken-over) - $(dropped handover-ring-full)))" 0
  books | indent
  ok "received + generated + fragments = sent + to-host + consumed + dropped + held, exactly"
}
