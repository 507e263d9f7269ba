/*
 * What paxlock.pml takes for granted about time: while a holder counts a number, no acceptor that acknowledged it
 * lets the lease go, nor forgets it. One holder, one acceptor, clocks that are wrong by up to DRIFT, messages and
 * answers late without limit, a crash. Documented in docs/spec/README.md; docs/protocol.md sections 2, 3 and 7.
 *
 * One step of time is 4 units; in it, a clock counts 3, 4 or 5: drift is 1/4. The holder's and the acceptor's
 * clocks choose independently, step by step.
 */

#define TTL 10
#ifndef NUMBERS
#define NUMBERS 2 /* at most 3 */
#endif
#define HOLDER_TTL 6 /* ttl x (1 - drift) / (1 + drift) = 10 x 3 / 5 */
#define SIT_OUT 17   /* max_ttl x (1 + drift) / (1 - drift) = 10 x 5 / 3, rounded up */
#define OLD 20       /* ages stop here; nothing asks for more */

#ifdef BUG_DRIFT
#define COUNTED TTL
#else
#define COUNTED HOLDER_TTL
#endif
#if defined(BUG_SIT_OUT)
#define SAT_OUT 0
#elif defined(PROBE_SIT_OUT)
#define SAT_OUT TTL /* the factor for drift left out */
#else
#define SAT_OUT SIT_OUT
#endif

byte sent;               /* highest number sent */
byte age[4];             /* on the holder's clock, since the sending of the number */
byte seq;                /* at the acceptor: 0 is nothing held */
byte left;               /* on the acceptor's clock, until the deadline */
byte recovering;         /* on the acceptor's clock, until it has sat out */
bit forgot;              /* the lease is gone: run out, or forgotten by a node that serves again */
byte answered;           /* bit k: the acceptor acknowledged number k */
byte counts;             /* the newest acknowledgement that the holder received, 0 is none */
byte since;              /* the age it counts by */
bit over;                /* the lease has run out at the holder */
byte k, by;              /* of one step */

#define BIT(x) (1 << (x))
#define VALID (counts != 0 && !over && since < COUNTED)

inline get_older(x, d)
{
    if
    :: x + d > OLD -> x = OLD
    :: else -> x = x + d
    fi
}

inline shrink(x, d)
{
    if
    :: x < d -> x = 0
    :: else -> x = x - d
    fi
}

inline holder_clock(by)
{
    for (k : 1 .. sent) {
        get_older(age[k], by)
    }
    if
    :: counts != 0 -> get_older(since, by)
    :: else
    fi;
    if
    :: counts != 0 && since >= COUNTED -> over = 1
    :: else
    fi;
    k = 0
}

inline acceptor_clock(by)
{
    shrink(left, by);
    shrink(recovering, by);
    if
    :: seq != 0 && recovering == 0 && left == 0 -> seq = 0; forgot = 1
    :: else
    fi
}

/* The first number is the Accept, later ones renew: what is gone is not taken again by a later number. */
#define TAKES(x) (sent >= x && recovering == 0 && !forgot && x > seq)

inline take(x)
{
    printf("the acceptor takes number %d\n", x);
    seq = x;
    left = TTL;
    answered = answered | BIT(x)
}

#define HEARS(x) (!over && (answered & BIT(x)) && x > counts)

inline hear(x)
{
    printf("the holder hears the answer to number %d, sent %d ago\n", x, age[x]);
    counts = x;
#ifdef BUG_ANSWER_TIME
    since = 0;
#else
    since = age[x];
#endif
    if
    :: since >= COUNTED -> over = 1
    :: else
    fi
}

active proctype world()
{
end:
    do
    :: atomic { /* one step of time */
        if :: by = 3 :: by = 4 :: by = 5 fi;
        holder_clock(by);
        if :: by = 3 :: by = 4 :: by = 5 fi;
        acceptor_clock(by);
        by = 0;
        printf("time passes: the holder counts %d, %d left at the acceptor\n", since, left);
        assert(!(VALID && forgot)) /* COVERED: whoever is counted still holds */
      }
    :: d_step { sent < NUMBERS && !over -> sent++; age[sent] = 0; printf("the holder sends number %d\n", sent) }
#ifdef BUG_S4
    :: d_step { sent > 0 && !over -> age[sent] = 0; printf("the holder repeats number %d, as if new\n", sent) }
#endif
    :: d_step { TAKES(1) -> take(1) }
    :: d_step { TAKES(2) -> take(2) }
    :: d_step { TAKES(3) -> take(3) }
    :: atomic { HEARS(1) -> hear(1); assert(!(VALID && forgot)) }
    :: atomic { HEARS(2) -> hear(2); assert(!(VALID && forgot)) }
    :: atomic { HEARS(3) -> hear(3); assert(!(VALID && forgot)) }
    :: d_step { /* an unclean restart: seq stays as a ghost; the end of sitting out is the end of the lease */
        seq != 0 && recovering == 0 ->
        printf("the acceptor loses its memory\n");
        left = 0;
        recovering = SAT_OUT;
        if
        :: recovering == 0 -> seq = 0; forgot = 1
        :: else
        fi
      }
    od
}
