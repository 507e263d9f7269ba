/*
 * The paxlock protocol, version 1, for one name: docs/protocol.md sections 2, 3, 5 (standing accept) and 7.
 * How it abstracts from the text, and how to run it: docs/spec/README.md.
 *
 * Messages are a set that only grows: what a candidate sent may reach an acceptor at any later time, any number
 * of times, or never. Time is the order of the candidate's numbers: number k has LAPSED when the holder, counting
 * from its sending, no longer counts it; an acceptor that was armed by number k lets the lease go at any time
 * after k has lapsed, never before (time.pml shows that clocks within `drift` keep this promise).
 *
 * Numbers are stored relative to what has lapsed: 0 is any lapsed number, 1..W are the numbers that have not
 * lapsed, oldest first. So a tenure may be renewed for ever in a finite state space.
 */

#ifndef NAMES
#define NAMES 0 /* 1 to tell a counterexample */
#endif
#ifndef T
#define T 2 /* terms */
#endif
#ifndef W
#define W 2 /* numbers that are out and have not lapsed, of one candidate */
#endif
#define N 3 /* nodes; hold(), lapse() and the order of nodes are written out for three */
#define C 2 /* candidates */

#ifdef BUG_S10
#define QUORUM 1 /* a node that answers twice counts twice: one node is enough */
#else
#define QUORUM 2
#endif

#define NOBODY 0
#define LAPSED 0

/* What a number was sent with: 1..T is Accept(term); 0 is a number that was not sent. */
#define UNSENT 0
#define RENEW (T + 1)
#define STANDING_PREPARE (T + 2)

/* mode of a node */
#define SERVING 0
#define SITTING_OUT 1
#define READING 2 /* joining: reads the ceilings of the others */

typedef Node {
    byte term;  /* highest promised; also the durable ceiling, in steps of one */
    byte owner; /* the candidate it is promised to, or NOBODY: the term is closed */
    byte lease; /* the candidate whose lease is held, or NOBODY */
    byte lease_term;
    byte seq;   /* the number that armed the held lease last */
    byte tombs; /* bit c: tombstone of candidate c */
    byte mode;
    byte name;  /* 0 in a search; 1..N when a counterexample is told, where symmetry moves nodes about */
    byte ack[2 * T]; /* (c, t): newest unlapsed number that c may know this node to have acknowledged in term t */
    /* ghosts: what an outside observer knows */
    byte high;  /* highest term ever promised or closed here */
    bit shut;   /* `high` was closed here: no lease may be taken in it again */
    byte told;  /* bit c: has heard Release of c in this life */
#ifdef BUG_S12
    bit marked; byte s_term; byte s_owner; byte s_lease; byte s_lease_term; byte s_seq; byte s_tombs;
#endif
#ifdef JOIN
    byte read; /* bit n: ceiling of node n was read */
#endif
};

typedef Candidate {
    byte sent[W]; /* sent[k - 1]: what number k was sent with */
    byte late;    /* bit t: an Accept(t) was sent with a number that has lapsed; bit 0: a standing Prepare was */
    byte current; /* highest term of its Accepts */
    bit over;     /* ended: Release is sent, nothing is counted, nothing else is sent */
    byte token;   /* fencing token while the holder believes itself valid, else 0 */
#ifdef BUG_S2
    bit released;
#endif
#ifdef BUG_REVIVE
    byte was; /* token of a tenure that lapsed */
#endif
#ifdef BUG_S13
    byte commit; /* term that was chosen */
#endif
};

Node node[N];
Candidate cand[C + 1]; /* 1..C */
byte spare, i, j;      /* of one step; 0 between steps */
byte last_token;       /* highest fencing token that was ever valid */

#define BIT(x) (1 << (x))
#define ACK(n, c, t) node[n].ack[(c - 1) * T + t - 1]
#define TOMB(n, c) (node[n].tombs & BIT(c))
#define FREE_FOR(n, c) (node[n].lease == NOBODY || node[n].lease == c)
#define SERVES(n) (node[n].mode == SERVING)
#define UNTOUCHED(n) (node[n].high == 0 && node[n].told == 0)

/* Nodes that never acted are alike: node n acts first only after node n - 1. */
#if defined(SYMMETRY) || defined(JOIN)
#define AWAKE(n) true
#else
#define AWAKE(n) (n == 0 || !UNTOUCHED(n - 1))
#endif

/* ------------------------------------------------------------------ properties */

/* EXCLUSION: at most one valid holder. */
#define ASSERT_EXCLUSION(c) assert(cand[3 - c].token == 0)
/* TOKENS: fencing tokens strictly grow; so no term is given to two tenures. */
#define ASSERT_TOKENS(t) assert(t > last_token)
#ifdef LOCAL
/* ENDED: an attempt that an acceptor knows to have ended is never held there again. */
#define ASSERT_ENDED(n, c) assert(!(node[n].told & BIT(c)))
/* ONE VALUE: an acceptor gives a term to one candidate, and what was closed stays closed. */
#define ASSERT_ONE_VALUE(n, t) assert(t > node[n].high || (t == node[n].high && !node[n].shut))
#else
#define ASSERT_ENDED(n, c) skip
#define ASSERT_ONE_VALUE(n, t) skip
#endif
/* BACKED: while a holder is valid, a quorum holds its lease, or sits out for it (section 4). */
#if defined(LOCAL) || defined(STRICT)
#define HOLDS(n, c) (node[n].lease == c && node[n].seq > LAPSED)
#define BACKED(c) (cand[c].token == 0 || HOLDS(0, c) + HOLDS(1, c) + HOLDS(2, c) >= 2)
#else
#define BACKED(c) true
#endif

/* ------------------------------------------------------------------ symmetry */

/* Nodes are alike: after every step they are put in order, so that states which differ only by a permutation of
 * the nodes are one. Not with trails:
 * a node would change its number. */
#if T == 2
#define KEY_OF_ACKS(n) (ACK(n, 1, 1) + 4 * ACK(n, 1, 2) + 16 * ACK(n, 2, 1) + 64 * ACK(n, 2, 2))
#else
#define KEY_OF_ACKS(n) (ACK(n, 1, 1) + 4 * ACK(n, 1, 2) + 16 * ACK(n, 1, 3) + \
                        64 * ACK(n, 2, 1) + 256 * ACK(n, 2, 2) + 1024 * ACK(n, 2, 3))
#endif
#define KEY(n) (node[n].term + 4 * node[n].owner + 16 * node[n].lease + 64 * node[n].lease_term + \
                256 * node[n].seq + 1024 * node[n].told + 8192 * node[n].mode + 32768 * KEY_OF_ACKS(n))

#define EXCHANGE(x, y) spare = x; x = y; y = spare
#define EXCHANGE_BITS(x, a, b) \
    if \
    :: ((x >> a) & 1) != ((x >> b) & 1) -> x = x ^ (BIT(a) | BIT(b)) \
    :: else \
    fi

inline in_order(a, b)
{
    if
    :: KEY(a) < KEY(b) ->
        EXCHANGE(node[a].name, node[b].name);
        EXCHANGE(node[a].term, node[b].term);
        EXCHANGE(node[a].owner, node[b].owner);
        EXCHANGE(node[a].lease, node[b].lease);
        EXCHANGE(node[a].lease_term, node[b].lease_term);
        EXCHANGE(node[a].seq, node[b].seq);
        EXCHANGE(node[a].tombs, node[b].tombs);
        EXCHANGE(node[a].told, node[b].told);
        EXCHANGE(node[a].mode, node[b].mode);
        EXCHANGE(node[a].high, node[b].high);
        EXCHANGE(node[a].shut, node[b].shut);
#ifdef JOIN
        EXCHANGE(node[a].read, node[b].read);
        EXCHANGE_BITS(node[0].read, a, b); EXCHANGE_BITS(node[1].read, a, b); EXCHANGE_BITS(node[2].read, a, b);
#endif
#ifdef BUG_S12
        EXCHANGE(node[a].marked, node[b].marked); EXCHANGE(node[a].s_term, node[b].s_term);
        EXCHANGE(node[a].s_owner, node[b].s_owner); EXCHANGE(node[a].s_lease, node[b].s_lease);
        EXCHANGE(node[a].s_lease_term, node[b].s_lease_term); EXCHANGE(node[a].s_seq, node[b].s_seq);
        EXCHANGE(node[a].s_tombs, node[b].s_tombs);
#endif
        EXCHANGE(ACK(a, 1, 1), ACK(b, 1, 1));
        EXCHANGE(ACK(a, 1, 2), ACK(b, 1, 2));
        EXCHANGE(ACK(a, 2, 1), ACK(b, 2, 1));
        EXCHANGE(ACK(a, 2, 2), ACK(b, 2, 2))
#if T > 2
        ;
        EXCHANGE(ACK(a, 1, 3), ACK(b, 1, 3));
        EXCHANGE(ACK(a, 2, 3), ACK(b, 2, 3))
#endif
    :: else
    fi
}

inline after_step()
{
    assert(BACKED(1) && BACKED(2));
#ifdef SYMMETRY
    in_order(0, 1); in_order(1, 2); in_order(0, 1);
#endif
    spare = 0; i = 0; j = 0
}

/* ------------------------------------------------------------------ the acceptor: section 2 */

inline raise_term(n, t)
{
    node[n].term = t;
    if
    :: t > node[n].high -> node[n].high = t; node[n].shut = 0
    :: else
    fi
}

inline close_term(n)
{
    node[n].owner = NOBODY; node[n].lease = NOBODY; node[n].lease_term = 0; node[n].seq = 0;
    if
    :: node[n].high > 0 -> node[n].shut = 1
    :: else
    fi
}

/* The answer reaches the candidate, or not: an answer that it does not know only ends its validity earlier. */
inline acknowledge(n, c, t, number)
{
    if
    :: cand[c].over || number == LAPSED
    :: else ->
        if
        :: cand[c].token == 0 ->
            if
            :: ACK(n, c, t) < number -> ACK(n, c, t) = number
            :: else
            fi
        :: else -> /* valid: answers of any term >= token count together */
            if
            :: t >= cand[c].token && ACK(n, c, cand[c].token) < number -> ACK(n, c, cand[c].token) = number
            :: else
            fi
        fi
    fi
}

/* Prepare, or the push to the head of the line. Which term above its own: whatever at_least asks for. */
#if defined(BUG_PROMISE_HELD) || defined(PROBE_PROMISE_HELD)
#define MAY_PROMISE(n, c, t) (SERVES(n) && AWAKE(n) && !TOMB(n, c) && t > node[n].term)
#else
#define MAY_PROMISE(n, c, t) (SERVES(n) && AWAKE(n) && !TOMB(n, c) && t > node[n].term && FREE_FOR(n, c))
#endif

inline promise(n, c, t)
{
    printf("node %d promises term %d to candidate %d\n", node[n].name, t, c);
    raise_term(n, t);
    node[n].owner = c;
#ifdef BUG_PROMISE_HELD
    if
    :: node[n].lease != c -> node[n].lease = NOBODY; node[n].lease_term = 0; node[n].seq = 0
    :: else
    fi
#endif
}

#ifdef BUG_ACCEPT_HELD
#define NOT_HELD_BY_OTHER(n, c) true
#else
#define NOT_HELD_BY_OTHER(n, c) FREE_FOR(n, c)
#endif
#ifdef BUG_STALE
#define NOT_STALE(n, c, t) (t >= node[n].term)
#else
#define NOT_STALE(n, c, t) (t > node[n].term || (t == node[n].term && node[n].owner == c))
#endif
#define NEWS(n, c, t, number) \
    (node[n].lease != c || node[n].lease_term != t || number > node[n].seq)
#define MAY_ACCEPT(n, c, t, number) \
    (SERVES(n) && AWAKE(n) && !TOMB(n, c) && NOT_HELD_BY_OTHER(n, c) && NOT_STALE(n, c, t) && NEWS(n, c, t, number))

inline take(n, c, t, number)
{
    printf("node %d takes Accept(term %d, number %d) of candidate %d\n", node[n].name, t, number, c);
    ASSERT_ENDED(n, c);
    ASSERT_ONE_VALUE(n, t);
    raise_term(n, t);
    node[n].owner = c;
    node[n].lease_term = t;
    if
#ifndef BUG_S6
    :: node[n].lease == c && node[n].seq >= number /* the later deadline and the higher number stay */
#endif
    :: else -> node[n].seq = number
    fi;
    node[n].lease = c;
    acknowledge(n, c, t, node[n].seq)
}

#if defined(BUG_S5) || defined(BUG_S5_LIST)
#define NEWER(n, number) (number != node[n].seq)
#else
#define NEWER(n, number) (number > node[n].seq)
#endif
#define MAY_RENEW(n, c, number) (SERVES(n) && node[n].lease == c && NEWER(n, number))

inline renew(n, c, number)
{
    printf("node %d takes Renew(number %d) of candidate %d, held in term %d\n", node[n].name, number, c, node[n].lease_term);
#ifdef BUG_S5_LIST
    acknowledge(n, c, node[n].lease_term, number) /* listed, though this number re-armed nothing */
#else
    node[n].seq = number;
    acknowledge(n, c, node[n].lease_term, number)
#endif
}

#ifdef BUG_S2
#define RELEASED(c) cand[c].released
#else
#define RELEASED(c) cand[c].over
#endif
#define MAY_END(n, c) (SERVES(n) && AWAKE(n) && RELEASED(c) && !(node[n].told & BIT(c)))

inline end_of(n, c)
{
    printf("node %d takes Release of candidate %d\n", node[n].name, c);
#ifndef BUG_TOMBSTONE
    node[n].tombs = node[n].tombs | BIT(c);
#endif
    node[n].told = node[n].told | BIT(c);
    if
#ifdef BUG_S1
    :: true ->
#else
    :: node[n].lease == c || (node[n].lease == NOBODY && node[n].owner == c) ->
#endif
        if
        :: cand[c].current > node[n].term -> raise_term(n, cand[c].current)
        :: else
        fi;
        close_term(n)
    :: else
    fi
}

#define MAY_EXPIRE(n) (SERVES(n) && node[n].lease != NOBODY && node[n].seq == LAPSED)

inline expire(n)
{
    printf("node %d lets the lease of candidate %d run out\n", node[n].name, node[n].lease);
#ifdef BUG_EXPIRY
    node[n].lease = NOBODY; node[n].lease_term = 0; node[n].seq = 0; node[n].shut = 1 /* the owner stays */
#else
    close_term(n)
#endif
}

#ifdef BUG_S13
/* "The value is chosen, so what this acceptor promised does not matter." */
#define MAY_TAKE_COMMIT(n, c) \
    (SERVES(n) && AWAKE(n) && cand[c].commit != 0 && !TOMB(n, c) && node[n].lease == NOBODY)
inline take_commit(n, c)
{
    printf("node %d takes Commit(term %d) of candidate %d\n", node[n].name, cand[c].commit, c);
    raise_term(n, cand[c].commit);
    node[n].owner = c; node[n].lease = c; node[n].lease_term = cand[c].commit; node[n].seq = LAPSED
}
#endif

/* ------------------------------------------------------------------ standing accept: section 5 */

#ifdef STANDING
/* An acceptor that becomes free takes the lease of a waiting candidate, at its next term, with the number of the
 * refresh. Which refresh it has in its line, and who is first: any that was sent. */
#ifdef BUG_STANDING_KEPT
#define MAY_STAND(n, c) (SERVES(n) && AWAKE(n) && node[n].lease == NOBODY && node[n].term < T)
#else
#define MAY_STAND(n, c) (SERVES(n) && AWAKE(n) && node[n].lease == NOBODY && node[n].term < T && !TOMB(n, c))
#endif

inline stand(n, c, number)
{
    printf("node %d accepts the standing lease of candidate %d with number %d in term %d\n", node[n].name, c, number, node[n].term + 1);
    ASSERT_ENDED(n, c);
    node[n].term++; node[n].high = node[n].term; node[n].shut = 0;
    node[n].owner = c; node[n].lease = c; node[n].lease_term = node[n].term; node[n].seq = number;
#ifdef BUG_STANDING_ECHO
    if
    :: W > 1 && number < W && cand[c].sent[number] != UNSENT -> acknowledge(n, c, node[n].lease_term, number + 1)
    :: else -> acknowledge(n, c, node[n].lease_term, number)
    fi
#else
    acknowledge(n, c, node[n].lease_term, number)
#endif
}
#endif

/* ------------------------------------------------------------------ restarts: section 7 */

#ifdef CRASH
#define MAY_CRASH(n) (node[n].mode != READING && !UNTOUCHED(n))

/* The state is gone; floor = ceiling. What was held is kept as a ghost: it tells how long to sit out. */
inline crash(n)
{
    printf("node %d loses its memory\n", node[n].name);
#ifdef BUG_S12
    if
    :: node[n].marked -> /* the mark of a clean stop before this life: its snapshot is taken for the truth */
        node[n].term = node[n].s_term; node[n].owner = node[n].s_owner; node[n].lease = node[n].s_lease;
        node[n].lease_term = node[n].s_lease_term; node[n].seq = node[n].s_seq; node[n].tombs = node[n].s_tombs
    :: else ->
#endif
    node[n].owner = NOBODY; node[n].lease_term = 0; node[n].tombs = 0; node[n].told = 0;
    if
    :: node[n].high > 0 -> node[n].shut = 1
    :: else
    fi;
#ifdef BUG_FLOOR
    node[n].term = 0;
#endif
#ifdef BUG_SIT_OUT
    node[n].lease = NOBODY; node[n].seq = 0;
#endif
    if
    :: node[n].lease == NOBODY -> node[n].mode = SERVING /* sitting out is no more than silence */
    :: else -> node[n].mode = SITTING_OUT
    fi
#ifdef BUG_S12
    fi
#endif
}

#define MAY_SERVE(n) (node[n].mode == SITTING_OUT && node[n].seq == LAPSED)
inline serve(n)
{
    printf("node %d serves again in term %d\n", node[n].name, node[n].term);
    node[n].mode = SERVING; node[n].lease = NOBODY
}
#endif

#ifdef BUG_S12
inline clean_restart(n)
{
    printf("node %d stops cleanly and starts again\n", node[n].name);
    node[n].marked = 1;
    node[n].s_term = node[n].term; node[n].s_owner = node[n].owner; node[n].s_lease = node[n].lease;
    node[n].s_lease_term = node[n].lease_term; node[n].s_seq = node[n].seq; node[n].s_tombs = node[n].tombs
}
#endif

#ifdef JOIN
/* The disk is lost too: sit out, then read the ceilings of N - QUORUM + 1 = 2 others that serve. */
#define MAY_LOSE(n) (!UNTOUCHED(n))
inline lose(n)
{
    printf("node %d loses its disk\n", node[n].name);
    node[n].term = 0; node[n].owner = NOBODY; node[n].lease_term = 0; node[n].tombs = 0; node[n].told = 0;
    node[n].high = 0; node[n].shut = 0; node[n].read = 0;
    node[n].mode = READING
}
#ifdef BUG_S7
#define MAY_READ(n, m) (node[n].mode == READING && m != n && SERVES(m) && !(node[n].read & BIT(m)))
#else
#define MAY_READ(n, m) \
    (node[n].mode == READING && node[n].seq == LAPSED && m != n && SERVES(m) && !(node[n].read & BIT(m)))
#endif
inline read_ceiling(n, m)
{
    printf("node %d reads ceiling %d of node %d\n", node[n].name, node[m].term, node[m].name);
    node[n].read = node[n].read | BIT(m);
    if
    :: node[m].term > node[n].term -> node[n].term = node[m].term
    :: else
    fi
}
#define ALL_READ(n) (node[n].read == BIT(0) + BIT(1) + BIT(2) - BIT(n))
#define MAY_JOIN(n) (node[n].mode == READING && node[n].seq == LAPSED && ALL_READ(n))
inline join(n)
{
    printf("node %d has joined with floor %d\n", node[n].name, node[n].term);
    node[n].mode = SERVING; node[n].lease = NOBODY; node[n].read = 0;
    node[n].high = node[n].term;
    if
    :: node[n].term > 0 -> node[n].shut = 1
    :: else
    fi
}
#endif

/* Prepares of every candidate may be under way at any time. */
#ifdef NO_PREPARE
#define PREPARES_UP_TO_2(c)
#else
#define PREPARES_UP_TO_2(c) \
    :: d_step { MAY_PROMISE(n, c, 1) -> promise(n, c, 1); after_step() } \
    :: d_step { MAY_PROMISE(n, c, 2) -> promise(n, c, 2); after_step() }
#endif
#define LATE_UP_TO_2(c) \
    :: d_step { (cand[c].late & BIT(1)) && MAY_ACCEPT(n, c, 1, LAPSED) -> take(n, c, 1, LAPSED); after_step() } \
    :: d_step { (cand[c].late & BIT(2)) && MAY_ACCEPT(n, c, 2, LAPSED) -> take(n, c, 2, LAPSED); after_step() }
#if T == 2
#define PREPARES(c) PREPARES_UP_TO_2(c)
#define LATE(c) LATE_UP_TO_2(c)
#elif T == 3
#ifdef NO_PREPARE
#define PREPARES(c)
#else
#define PREPARES(c) PREPARES_UP_TO_2(c) :: d_step { MAY_PROMISE(n, c, 3) -> promise(n, c, 3); after_step() }
#endif
#define LATE(c) LATE_UP_TO_2(c) \
    :: d_step { (cand[c].late & BIT(3)) && MAY_ACCEPT(n, c, 3, LAPSED) -> take(n, c, 3, LAPSED); after_step() }
#endif

#define SENT(c, k) cand[c].sent[k - 1]
#define NUMBER(c, k) \
    :: d_step { SENT(c, k) != UNSENT && SENT(c, k) <= T && MAY_ACCEPT(n, c, SENT(c, k), k) -> take(n, c, SENT(c, k), k); after_step() } \
    :: d_step { SENT(c, k) == RENEW && MAY_RENEW(n, c, k) -> renew(n, c, k); after_step() }
#if W == 1
#define NUMBERS(c) NUMBER(c, 1)
#elif W == 2
#define NUMBERS(c) NUMBER(c, 1) NUMBER(c, 2)
#elif W == 3
#define NUMBERS(c) NUMBER(c, 1) NUMBER(c, 2) NUMBER(c, 3)
#endif

#ifdef STANDING
#define STAND(c, k) :: d_step { SENT(c, k) == STANDING_PREPARE && MAY_STAND(n, c) -> stand(n, c, k); after_step() }
#define STAND_LATE(c) :: d_step { (cand[c].late & BIT(0)) && MAY_STAND(n, c) -> stand(n, c, LAPSED); after_step() }
#if W == 1
#define STANDS(c) STAND(c, 1) STAND_LATE(c)
#elif W == 2
#define STANDS(c) STAND(c, 1) STAND(c, 2) STAND_LATE(c)
#elif W == 3
#define STANDS(c) STAND(c, 1) STAND(c, 2) STAND(c, 3) STAND_LATE(c)
#endif
#endif

proctype Acceptor(byte n)
{
end:
    do
    PREPARES(1) PREPARES(2)
    NUMBERS(1) NUMBERS(2)
    LATE(1) LATE(2)
#ifdef STANDING
    STANDS(1) STANDS(2)
#endif
    :: d_step { MAY_END(n, 1) -> end_of(n, 1); after_step() }
    :: d_step { MAY_END(n, 2) -> end_of(n, 2); after_step() }
    :: d_step { MAY_EXPIRE(n) -> expire(n); after_step() }
#ifdef BUG_S13
    :: d_step { MAY_TAKE_COMMIT(n, 1) -> take_commit(n, 1); after_step() }
    :: d_step { MAY_TAKE_COMMIT(n, 2) -> take_commit(n, 2); after_step() }
#endif
#ifdef CRASH
    :: d_step { MAY_CRASH(n) -> crash(n); after_step() }
    :: d_step { MAY_SERVE(n) -> serve(n); after_step() }
#endif
#ifdef BUG_S12
    :: d_step { SERVES(n) && !UNTOUCHED(n) -> clean_restart(n); after_step() }
#endif
#ifdef JOIN
    :: d_step { MAY_LOSE(n) -> lose(n); after_step() }
    :: d_step { MAY_READ(n, 0) -> read_ceiling(n, 0); after_step() }
    :: d_step { MAY_READ(n, 1) -> read_ceiling(n, 1); after_step() }
    :: d_step { MAY_READ(n, 2) -> read_ceiling(n, 2); after_step() }
    :: d_step { MAY_JOIN(n) -> join(n); after_step() }
#endif
    od
}

/* ------------------------------------------------------------------ the candidate: section 3 */

/* Candidates that did nothing are alike: candidate 1 is the first to send. */
#define ITS_TURN(c) (c == 1 || cand[1].over || SENT(1, 1) != UNSENT || cand[1].late != 0)
#define SENDS(c) (!cand[c].over && SENT(c, W) == UNSENT && ITS_TURN(c))

inline first_unsent(c)
{
    j = 1;
    do
    :: SENT(c, j) != UNSENT -> j++
    :: else -> break
    od
}

#if defined(BUG_ANSWER_TIME) || defined(BUG_S4)
/* Acknowledgements of numbers from `least` on count as if of number j. */
inline count_from(c, least)
{
    for (i : 0 .. N * T - 1) {
        if
        :: ACK(i / T, c, i % T + 1) >= least -> ACK(i / T, c, i % T + 1) = j
        :: else
        fi
    }
}
#endif

inline send(c, what)
{
    first_unsent(c);
    SENT(c, j) = what;
#ifdef BUG_ANSWER_TIME
    count_from(c, 1); /* answers to earlier numbers arrive now, and are counted from now */
#endif
}

inline send_accept(c, t)
{
    printf("candidate %d sends Accept(term %d)\n", c, t);
    cand[c].current = t;
    send(c, t)
}

#ifdef BUG_S4
/* The last number is sent once more, and counts from this sending: its time is that of a number of its own. */
#define REPETITION (T + 3)
inline repeat_last(c)
{
    printf("candidate %d repeats its last number\n", c);
    first_unsent(c);
    SENT(c, j) = REPETITION;
    count_from(c, j - 1)
}
#endif

/* The holder stops counting, and only then sends Release. Its leases last as long as its numbers would have:
 * as these may lapse at any time, and nobody counts them any more, they lapse here. */
inline finish(c)
{
    printf("candidate %d is over; Release is sent\n", c);
    for (i : 1 .. W) {
        bury(c, SENT(c, i));
        SENT(c, i) = UNSENT
    }
    cand[c].over = 1;
    cand[c].token = 0;
#ifdef BUG_S2
    cand[c].released = 1;
#endif
    for (i : 0 .. N - 1) {
        for (j : 1 .. T) {
            ACK(i, c, j) = 0
        }
        if
        :: node[i].lease == c -> node[i].seq = LAPSED
        :: else
        fi
#ifdef BUG_S12
        ;
        if
        :: node[i].s_lease == c -> node[i].s_seq = LAPSED
        :: else
        fi
#endif
    }
}

inline bury(c, what)
{
    if
    :: what >= 1 && what <= T -> cand[c].late = cand[c].late | BIT(what)
    :: what == STANDING_PREPARE -> cand[c].late = cand[c].late | BIT(0)
    :: else
    fi
}

#ifdef BUG_S3
/* Answers of different terms are counted together. */
#if T == 2
#define COUNTS(n, c, t) (ACK(n, c, 1) > 0 || ACK(n, c, 2) > 0)
#else
#define COUNTS(n, c, t) (ACK(n, c, 1) > 0 || ACK(n, c, 2) > 0 || ACK(n, c, 3) > 0)
#endif
#else
#define COUNTS(n, c, t) (ACK(n, c, t) > 0)
#endif
#define HAS_QUORUM(c, t) (COUNTS(0, c, t) + COUNTS(1, c, t) + COUNTS(2, c, t) >= QUORUM)
#define MAY_HOLD(c, t) (!cand[c].over && cand[c].token == 0 && HAS_QUORUM(c, t))

/* First validity: a quorum within one term, which is the token. */
inline hold(c, t)
{
    printf("candidate %d is valid, term %d\n", c, t);
#ifdef BUG_REVIVE
    if
    :: cand[c].was != 0 ->
        ASSERT_EXCLUSION(c);
        assert(last_token == cand[c].was); /* TOKENS: a revived tenure is the newest one */
        cand[c].token = cand[c].was
    :: else ->
#endif
    ASSERT_EXCLUSION(c);
    ASSERT_TOKENS(t);
    last_token = t;
    cand[c].token = t;
#ifdef BUG_S13
    cand[c].commit = t;
#endif
#ifdef BUG_REVIVE
    fi;
#endif
    for (i : 0 .. N - 1) { /* from now on, answers of any term >= token count together */
        for (j : 1 .. T) {
            if
            :: j > t && ACK(i, c, j) > ACK(i, c, t) -> ACK(i, c, t) = ACK(i, c, j)
            :: else
            fi;
            if
            :: j != t -> ACK(i, c, j) = 0
            :: else
            fi
        }
    }
}

/* The oldest number lapses. A holder without a quorum of newer ones is over. */
inline lapse(c)
{
    printf("the oldest number of candidate %d lapses\n", c);
    bury(c, SENT(c, 1));
    for (i : 1 .. W - 1) {
        SENT(c, i) = SENT(c, i + 1)
    }
    SENT(c, W) = UNSENT;
    for (i : 0 .. N - 1) {
        for (j : 1 .. T) {
            if
            :: ACK(i, c, j) > 0 -> ACK(i, c, j) = ACK(i, c, j) - 1
            :: else
            fi
        }
        if
        :: node[i].lease == c && node[i].seq > 0 -> node[i].seq = node[i].seq - 1
        :: else
        fi
#ifdef BUG_S12
        ;
        if
        :: node[i].s_lease == c && node[i].s_seq > 0 -> node[i].s_seq = node[i].s_seq - 1
        :: else
        fi
#endif
    }
    if
    :: cand[c].token != 0 && !HAS_QUORUM(c, cand[c].token) ->
#ifdef BUG_REVIVE
        cand[c].was = cand[c].token; cand[c].token = 0
#else
        finish(c)
#endif
    :: else
    fi
}

proctype Contender(byte c)
{
end:
    do
    :: d_step { SENDS(c) && cand[c].current <= 1 -> send_accept(c, 1); after_step() }
    :: d_step { SENDS(c) && cand[c].current <= 2 -> send_accept(c, 2); after_step() }
#if T > 2
    :: d_step { SENDS(c) && cand[c].current <= 3 -> send_accept(c, 3); after_step() }
#endif
    :: d_step { SENDS(c) && cand[c].token != 0 -> printf("candidate %d sends Renew\n", c); send(c, RENEW); after_step() }
#ifdef STANDING
    :: d_step { SENDS(c) && cand[c].token == 0 -> printf("candidate %d sends a standing Prepare\n", c); send(c, STANDING_PREPARE); after_step() }
#endif
#ifdef BUG_S4
    :: d_step { SENDS(c) && SENT(c, 1) != UNSENT -> repeat_last(c); after_step() }
#endif
    :: d_step { MAY_HOLD(c, 1) -> hold(c, 1); after_step() }
    :: d_step { MAY_HOLD(c, 2) -> hold(c, 2); after_step() }
#if T > 2
    :: d_step { MAY_HOLD(c, 3) -> hold(c, 3); after_step() }
#endif
    :: d_step { SENT(c, 1) != UNSENT -> lapse(c); after_step() }
    :: d_step { !cand[c].over && ITS_TURN(c) -> finish(c); after_step() }
#ifdef BUG_S2
    :: d_step { !cand[c].over && !cand[c].released && cand[c].current > 0 -> printf("candidate %d sends Release, and goes on counting\n", c); cand[c].released = 1; after_step() }
#endif
    od
}

init {
    atomic {
        node[0].name = NAMES; node[1].name = 2 * NAMES; node[2].name = 3 * NAMES;
        run Acceptor(0); run Acceptor(1); run Acceptor(2);
        run Contender(1); run Contender(2)
    }
}
