"""The protocol, pure: messages and a time go in, effects come out (docs/design.md; docs/protocol.md).

No clock, socket, disk, task or randomness of its own: ``now`` and the random generator are arguments. There
are two machines, `node.replica.Replica` and `session.session.Session`. effects.py is the contract with
whoever drives one: in each turn ``receive``, ``tick``, then ``take_effects``; and what is made durable, sent
and told, in which order. core/node and core/session never import each other: they meet in messages only.

What both share:

    messages.py        every message, one class each                              sections 2 to 8
    configuration.py   what a quorum is of, and the times that all keep          section 1, S14
    steering.py        what others want of a holder, and other data               section 12
    lease.py           candidate, lease, timing, validity                         sections 1 and 3
    handles.py         the secret in a handle, and the lock of a lease            section 3
    listing.py         who is in line, which names are in use: the pages          sections 5, 6
    journal.py         what a node remembers of a name, and the question for it   section 6
    seeing.py          what a node tells those who look after it: ping, counters  section 6
    reasons.py         why a node says no                                         sections 2, 8
    rights.py          what the key of a client allows                            section 8
    quorum.py          how many nodes decide                                      section 1
    shortfall.py       what people are told where no quorum serves
    lives.py           which answers count together                               section 7, S15
    durable.py         what is kept on disk                                       section 7
    effects.py         the seam
    round_trips.py     how long each node takes to answer                         section 5
    statistics.py      what a machine has counted
    timers.py          one heap of timers for a machine
    value.py           the decorator of values

What a node does (core/node):

    replica.py         the machine: routes messages to its parts                  sections 2, 6, 7
    acceptor.py        promises, leases, renewals, releases, expiry               section 2
    record.py          one name: who holds it, who may not                        section 2
    sharing.py         what many leases have in common, kept once                 beside
    handles.py         whether a handle opens a lease                             sections 2, 3
    line.py            who waits, in which order                                  section 5
    quotas.py          what one key of a client may have here                    section 8
    expiry.py          when a record is to be looked at                           section 2
    steering.py        revoked leases, published data                             section 12
    forgetting.py      tombstones, and dropping idle names                        section 2, L1
    learner.py         what is chosen                                             section 6
    hearsay.py         what a session says of itself and nobody here can know     section 6
    lingering.py       what is known to be chosen and not held here               section 6
    subscriptions.py   who watches what                                           section 6
    journal.py         what happened to each name, for people                     section 6
    seeing.py          its counters and its clock, told to whoever asks           section 6
    listing.py         the names in use, a page at a time                         section 6
    sorted_names.py    names in order, and who wants to hear of which             section 6
    notices.py         what those are told who watch over a node                  beside
    parts.py           an answer in as many datagrams as it needs                 section 2
    recovery.py        what a node may do after a start                           section 7
    starts.py          how a node begins, by its disk and the word it was told    section 7, S12
    joining.py         the way of a node without a memory                         section 7, S7, S15
    keeping.py         what is in the state file before what is sent              section 7

What a client does (core/session):

    session.py         the machine: routes messages to its parts                  sections 3 to 6
    campaigns.py       who wants which name in this process                       sections 3 and 5, L7
    candidates.py      the candidates of all names: made, heard, ended            sections 3 and 5
    attempt.py         one candidate: its states, and what it says                section 3
    proposer.py        the votes of one candidate                                 section 3, S3, S10
    refusals.py        who stands in the way; split votes                         section 5, L2
    tenures.py         a lease while it is valid                                  section 3, S4, L3
    renewals.py        leases that are renewed together                           section 3
    sequence.py        sequence numbers, and when each was sent                   section 3, S4
    shared.py          what all campaigns of a session share
    publications.py    other data, until every node has them                      section 12
    releases.py        Release, until every node has heard it                     section 3, S2, L1
    turns.py           how much is under way at the same moment                   section 5
    thrift.py          whom a new campaign asks first                             section 5
    pacing.py          how long to wait before asking again                       section 5
    exchanges.py       what is lost on the way, and what is copied because of that   section 5, S4, S2
    queries.py         list, survey, and the verbs on a handle                    section 6
    recalls.py         what all nodes remember of a name                          section 6
    seeing.py          one ping to every node, and what each has counted          section 6
    steering.py        the question by which a tenure is ended                    section 12
    polls.py           the standing of one name                                   section 6
    watches.py         from the events of nodes to led, free, unknown             section 6
    refreshing.py      how often a watch asks its nodes to go on                  section 6
    judgement.py       from the views of nodes to a word about the cell           section 6
    outbox.py          what is to be sent and told
    events.py          what is told to the shell
"""
