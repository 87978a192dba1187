/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The page protocol of docs/design/pages.md, for spin. README.md here says what
 * is modelled, what is left out, and why that is sound. Each atomic block is
 * what happens at one instant: a step of a node's engine, or an operation
 * taking effect at the home.
 */
#ifndef PAGES
#define PAGES 1
#endif
#ifndef OPS
#define OPS 2 /* faults and evictions of each node, over all pages */
#endif
#ifndef TOTAL
#define TOTAL (OPS * NODES) /* of all nodes together */
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef RESTART
#define RESTART 0 /* may the dead come back? */
#endif
#ifndef BUG
#define BUG 0 /* a mistake of runtime/protocol/seeded_bug.h */
#endif

#define NODES 3

/* ---- the word: sharers in bits 0-2, holder in 3-5, locker in 6-7 --------- */

#define LOST          7
#define BIT(n)        (1 << ((n) - 1))
#define SHARERS(w)    ((w) & 7)
#define HOLDER(w)     (((w) >> 3) & 7)
#define LOCKER(w)     (((w) >> 6) & 3)
#define NO_HOLDER(w)  ((w) & ~(7 << 3))
#define HAS_BIT(n, w) (((w) >> ((n) - 1)) & 1)

byte word[PAGES];
bit home_cur[PAGES] = 1; /* the home has the contents last written */

/* ---- a page on a node ---------------------------------------------------- */

#define I   0
#define S   1
#define M   2
#define BAD 3

#define IDLE    0
#define FILLING 1
#define WAITING 2

/* requests and answers */
#define INVALIDATE 1
#define KEEP       2 /* RECALL; the asker reads */
#define DROP       3 /* RECALL; the asker writes */
#define DONE       1
#define ENXIO      2
#define NOLINK     3

typedef Page {
	unsigned state : 2;
	unsigned phase : 2;
	unsigned has_bit : 1; /* what our last operation makes of our bit */
	unsigned was_holder : 1;
	unsigned is_serving : 1;
	unsigned taking : 1;  /* FAA - bit: posted, has not landed */
	unsigned access : 2;  /* the processes': 0 none, 1 read, 2 write */
	/* is it what was written last? */
	unsigned cur : 1;       /* the copy in the processes */
	unsigned read_cur : 1;  /* what a READ has brought */
	unsigned write_cur : 1; /* what a WRITE will bring home */
	unsigned asker : 2;     /* of the request being served; 0: nobody */
	unsigned orphan : 2;    /* a request whose asker has died */
	byte request[NODES + 1]; /* by asker */
	byte answer[NODES + 1]   /* to our request, by who was asked */
}

Page page[NODES * PAGES];

#define PG(n, p) page[((n) - 1) * PAGES + (p)]
#define ME       PG(n, p)

byte ops[NODES + 1] = OPS;
byte total = TOTAL;
byte crashes = CRASHES;
byte dying;          /* processes of the dead node that are yet to stop */
bit dead[NODES + 1]; /* and fenced: nothing of it lands any more */
byte evicted[NODES + 1]; /* pages that the name of a dead node is off */

/* ---- invariants ---------------------------------------------------------- */

/* INV-1: who can write is M and named as holder */
#define INV_1(n, p) (PG(n, p).access < 2 || \
	(PG(n, p).state == M && HOLDER(word[p]) == n))
/* INV-2: who has a copy has its bit set */
#define INV_2(n, p) (PG(n, p).access == 0 || HAS_BIT(n, word[p]))
/* INV-3: unlocked and no holder: the home is current */
#define INV_3(p) (LOCKER(word[p]) || HOLDER(word[p]) || home_cur[p])
/* INV-4: a holder's copy is the only one */
#define INV_4(n, p) (PG(n, p).access == 0 || HOLDER(word[p]) == 0 || \
	HOLDER(word[p]) == n)
/* no stale read: what a process can read is what was written last */
#define FRESH(n, p) (PG(n, p).access == 0 || PG(n, p).cur)
/* rule A: the bit is what the node thinks, unless an operation is under way */
#define RULE_A(n, p) (dead[n] || \
	HAS_BIT(n, word[p]) == (PG(n, p).has_bit | PG(n, p).taking))

#define ALL(INV, p) (INV(1, p) && INV(2, p) && INV(3, p))

inline check(q) {
	assert(ALL(INV_1, q));
	assert(ALL(INV_2, q));
	assert(INV_3(q));
	assert(ALL(INV_4, q));
	assert(ALL(FRESH, q))
}

/* ---- steps of which several processes are made --------------------------- */

/* An operation of our link waits for those before it; see README.md. */
#define LINK_READY (!ME.taking)

/* The sum must fit, else a field has run into its neighbour. */
inline faa(delta) {
	assert(word[p] + (delta) >= 0 && word[p] + (delta) < 256);
	word[p] = word[p] + (delta)
}

inline take_back() {
	if
	:: ME.has_bit -> ME.has_bit = 0; ME.taking = 1
	:: else
	fi
}

inline ask(m, what) {
	if
	:: dead[m] -> ME.answer[m] = NOLINK
	:: else -> PG(m, p).request[n] = what
	fi
}

inline reply(status) {
	if
	:: ME.asker -> PG(ME.asker, p).answer[n] = status
	:: else
	fi;
	ME.asker = 0
}

/*
 * INV-5: who gains a copy while another has the lock is known to him, and will
 * be asked.
 */
inline install(to) {
	if
	:: ME.state == I -> ME.cur = ME.read_cur; ME.read_cur = 0
	:: else
	fi;
	assert(ME.cur);
	assert(LOCKER(word[p]) == 0 || HAS_BIT(n, word[p]));
	ME.state = to;
	ME.access = to; /* S: 1, M: 2 */
	check(p)
}

/* Publish: with the lock, whose word was w. */
inline unlock(holder, bit_too) {
	faa((holder - HOLDER(w)) * 8 - n * 64 + BIT(n) * bit_too);
	ME.has_bit = (ME.has_bit || bit_too);
	if
	:: holder == n -> ME.was_holder = 1
	:: else
	fi;
	check(p)
}

/* The answer of node m to an INVALIDATE is in, or will never come. */
#define ANSWERED(m) ((left & BIT(m)) && (ME.answer[m] == DONE || \
	ME.answer[m] == NOLINK))

inline settle(from) {
	if
	:: ME.answer[from] == NOLINK && !dead[from] ->
		ME.answer[from] = 0; ask(from, INVALIDATE)
	:: else -> ME.answer[from] = 0; left = left & ~BIT(from)
	fi;
	if
	:: left == 0 -> goto publish
	:: else
	fi
}

/* With the lock: what next? */
inline decide() {
	if
	:: is_write && (w & ~BIT(n)) == 0 -> goto done /* a claim */
	:: HOLDER(w) == LOST -> goto bad
	:: HOLDER(w) == n && ME.was_holder -> goto publish
	:: HOLDER(w) == n && !ME.was_holder -> goto bad
	:: HOLDER(w) != 0 && HOLDER(w) != n && HOLDER(w) != LOST -> goto recall
	:: HOLDER(w) == 0 && !is_write -> goto publish
	:: HOLDER(w) == 0 && is_write && (w & ~BIT(n)) -> goto invalidate
	fi
}

#define CAN_BEGIN (ops[n] && total && !ME.is_serving)

inline begin() {
	ops[n]--;
	total--
}

inline finish() {
	ME.phase = IDLE;
	w = 0; is_write = 0; has_data = 0; again = 0
}

/* ---- the asking side: one fiber a page ----------------------------------- */

proctype Fiber(byte n; byte p) provided (!dying || dead[n])
{
	byte w;       /* the word as it was when we locked */
	byte left;    /* sharers that have not answered */
	bit is_write;
	bit has_data;
	bit again;

end_idle: {
	if
	:: atomic { CAN_BEGIN && ME.state == I ->
		begin(); ME.phase = FILLING };
		goto fill
	:: atomic { CAN_BEGIN && ME.state < M ->
		begin(); is_write = 1; ME.phase = WAITING };
		goto lock
	:: atomic { CAN_BEGIN && ME.state == S ->
		begin(); ME.access = 0; ME.cur = 0; ME.state = I; check(p);
		if
		:: ME.was_holder -> ME.phase = FILLING; goto disown
		:: else -> take_back()
		fi };
		goto end_idle
	:: atomic { CAN_BEGIN && ME.state == M ->
		/* protect, copy, drop; from now on the WRITE is under way */
		begin(); ME.write_cur = ME.cur; ME.access = 0; ME.cur = 0;
		home_cur[p] = 0; ME.state = I; ME.phase = FILLING };
		goto give_back
	:: atomic { CAN_BEGIN && ME.state == I && ME.was_holder ->
		begin(); ME.phase = FILLING };
		goto disown
	fi;

fill:	/* FAA and READ in one doorbell */
	atomic { LINK_READY ->
		w = word[p];
		faa(BIT(n) * (1 - ME.has_bit));
		ME.has_bit = 1; check(p) };
	atomic { ME.read_cur = home_cur[p] };
	if
	:: atomic { !LOCKER(w) && !HOLDER(w) -> install(S); finish() };
		goto end_idle
	:: atomic { LOCKER(w) || HOLDER(w) ->
		ME.read_cur = 0; ME.phase = WAITING }
	fi;

lock:	/* the CAS that works; those that fail change nothing */
	if
	:: atomic { !is_write && LOCKER(w) && !again -> /* another fill */
		again = 1; ME.phase = FILLING };
		goto fill
	:: atomic { LOCKER(word[p]) == 0 && LINK_READY ->
		assert(RULE_A(n, p));
		w = word[p];
		ME.phase = FILLING;
		if
		:: is_write && (w & ~BIT(n)) == 0 ->
			word[p] = BIT(n) | n << 3;
			ME.has_bit = 1;
			ME.was_holder = 1
		:: else -> word[p] = w | n << 6
		fi;
		check(p);
		if
		:: ME.state == I && HOLDER(w) == 0 -> skip
		:: else -> decide()
		fi };
	fi;
	atomic { ME.read_cur = home_cur[p]; has_data = 1; decide() };

recall:
	atomic { ask(HOLDER(w), KEEP + is_write) };
	if
	:: atomic { ME.answer[HOLDER(w)] == DONE ->
		ME.answer[HOLDER(w)] = 0; goto publish }
	:: atomic { ME.answer[HOLDER(w)] == ENXIO ||
		(ME.answer[HOLDER(w)] == NOLINK && dead[HOLDER(w)]) ->
		ME.answer[HOLDER(w)] = 0; goto bad }
	:: atomic { ME.answer[HOLDER(w)] == NOLINK && !dead[HOLDER(w)] ->
		ME.answer[HOLDER(w)] = 0; goto recall }
	fi;

invalidate: /* all of them at once */
	atomic {
		left = SHARERS(w) & ~BIT(n);
#if BUG == 2
		if
		:: left & 4 -> left = left & 3
		:: !(left & 4) && (left & 2) -> left = left & 1
		:: else -> left = 0
		fi;
#endif
		if
		:: left & BIT(1) -> ask(1, INVALIDATE)
		:: else
		fi;
		if
		:: left & BIT(2) -> ask(2, INVALIDATE)
		:: else
		fi;
		if
		:: left & BIT(3) -> ask(3, INVALIDATE)
		:: left == 0 -> goto publish
		:: else
		fi };
	do
	:: atomic { ANSWERED(1) -> settle(1) }
	:: atomic { ANSWERED(2) -> settle(2) }
	:: atomic { ANSWERED(3) -> settle(3) }
	od;

publish: /* READ, unless we have it, and FAA; the READ may be late */
	if
	:: atomic { ME.state != I || has_data ->
		unlock(is_write * n, !ME.has_bit) };
		goto done
	:: atomic { ME.state == I && !has_data ->
		ME.read_cur = home_cur[p]; has_data = 1 };
		goto publish
	:: atomic { ME.state == I && !has_data ->
		unlock(is_write * n, !ME.has_bit) };
		atomic { ME.read_cur = home_cur[p] }
	fi;

done:	/* all that was posted has completed */
	atomic { install(S + is_write); finish() };
	goto end_idle;

bad:
	atomic { unlock(LOST, 0) };
	atomic {
		assert(ME.state == I);
		ME.read_cur = 0; ME.state = BAD; finish() };
	goto end_idle;

give_back: /* the WRITE ends; then CAS */
	atomic { home_cur[p] = ME.write_cur; ME.write_cur = 0; check(p) };
withdraw:
	atomic { LINK_READY ->
		assert(RULE_A(n, p));
		if
		:: HOLDER(word[p]) == n && LOCKER(word[p]) == 0 ->
			word[p] = NO_HOLDER(word[p]) & ~BIT(n);
			ME.has_bit = 0; check(p); goto withdrawn
		:: HOLDER(word[p]) != n -> goto withdrawn
		:: else -> ME.phase = WAITING
		fi };
	atomic { HOLDER(word[p]) != n || LOCKER(word[p]) == 0 ->
		ME.phase = FILLING };
	goto withdraw;
withdrawn:
	atomic { ME.was_holder = 0; take_back(); finish() };
	goto end_idle;

disown:
	atomic { LINK_READY ->
		if
		:: HOLDER(word[p]) == n -> goto withdraw
		:: else
		fi };
	atomic { take_back(); finish() };
	goto end_idle

	} unless { dead[n] };
	atomic {
		is_write = 0; has_data = 0; again = 0; left = 0; w = 0;
		dying-- };
end_dead:
	!dead[n];
	goto end_idle
}

/* ---- the asked side ------------------------------------------------------ */

#define FREE (ME.phase != FILLING && !ME.is_serving)

/* What the engine does at once; is_serving: there is more to do. */
inline serve(from) {
	what = ME.request[from];
	ME.request[from] = 0;
	ME.asker = from;
	serve_now()
}

inline serve_now() {
	if
	:: ME.state == M ->
		ME.is_serving = 1;
		ME.write_cur = ME.cur;
		home_cur[p] = 0; /* until the WRITE has ended */
		if
#if BUG == 3
		:: what == KEEP
#else
		:: what == KEEP -> ME.access = 1
#endif
		:: else -> ME.access = 0; ME.cur = 0
		fi;
		check(p);
		goto write_home
	:: ME.state == S && what != KEEP ->
#if BUG == 1
		reply(DONE);
		ME.is_serving = 1;
		goto drop_late
#else
		ME.access = 0; ME.cur = 0; ME.state = I;
		take_back();
		reply(DONE)
#endif
	:: ME.state == S && what == KEEP -> reply(DONE)
	:: ME.state == I ->
		if
		:: what != KEEP && ME.phase == IDLE -> take_back()
		:: else
		fi;
		reply(ENXIO - (what == INVALIDATE || ME.was_holder))
	:: ME.state == BAD -> reply(ENXIO - (what == INVALIDATE))
	fi;
	check(p);
	what = 0
}

proctype Server(byte n; byte p) provided (!dying || dead[n])
{
	byte what;

end_quiet: {
	if
	:: atomic { FREE && ME.orphan ->
		what = ME.orphan; ME.orphan = 0; serve_now() }
	:: atomic { FREE && ME.request[1] -> serve(1) }
	:: atomic { FREE && ME.request[2] -> serve(2) }
	:: atomic { FREE && ME.request[3] -> serve(3) }
	fi;
	goto end_quiet;

#if BUG == 1
drop_late:
	atomic {
		ME.access = 0; ME.cur = 0; ME.state = I; ME.is_serving = 0;
		take_back(); what = 0 };
	goto end_quiet;
#endif

write_home: /* the WRITE ends; then FAA */
	atomic { home_cur[p] = ME.write_cur; ME.write_cur = 0 };
	atomic {
		if
		:: what != KEEP && ME.has_bit -> faa(-BIT(n)); ME.has_bit = 0
		:: else
		fi;
		check(p) };
	atomic {
		ME.state = (what == KEEP); /* S or I */
		ME.is_serving = 0;
		reply(DONE);
		what = 0 };
	goto end_quiet

	} unless { dead[n] };
	atomic { what = 0; dying-- };
end_dead:
	!dead[n];
	goto end_quiet
}

/* ---- everything else: programs, the wire, death -------------------------- */

/* Something else than the writer's copy is what was written last. */
#define OTHERS_CUR(n, p) (home_cur[p] || PG(n, p).write_cur || \
	PG(1, p).read_cur || PG(2, p).read_cur || PG(3, p).read_cur)

inline grow_stale(m, q) {
	PG(m, q).cur = 0; PG(m, q).read_cur = 0; PG(m, q).write_cur = 0
}

inline store(n, q) {
	/* single writer: nobody else can even read */
	assert((n == 1 || PG(1, q).access == 0) &&
	       (n == 2 || PG(2, q).access == 0) &&
	       (n == 3 || PG(3, q).access == 0));
	home_cur[q] = 0;
	grow_stale(1, q); grow_stale(2, q); grow_stale(3, q);
	PG(n, q).cur = 1;
	check(q)
}

inline forget(k, q) {
	PG(k, q).state = I; PG(k, q).phase = IDLE; PG(k, q).has_bit = 0;
	PG(k, q).was_holder = 0; PG(k, q).is_serving = 0;
	PG(k, q).taking = 0; PG(k, q).access = 0; PG(k, q).cur = 0;
	PG(k, q).read_cur = 0; PG(k, q).write_cur = 0;
	PG(k, q).answer[1] = 0; PG(k, q).answer[2] = 0; PG(k, q).answer[3] = 0;
	PG(k, q).asker = 0; PG(k, q).orphan = 0
}

/* A's request to K, queued or being served, has met a broken link. */
inline break_link(k, a, q) {
	if
	:: PG(k, q).request[a] || PG(k, q).asker == a ->
		PG(k, q).request[a] = 0; PG(a, q).answer[k] = NOLINK
	:: else
	fi;
	/* K's own at A: forgotten, or served all the same */
	if
	:: PG(a, q).request[k] -> PG(a, q).orphan = PG(a, q).request[k];
		PG(a, q).request[k] = 0
	:: PG(a, q).request[k] -> PG(a, q).request[k] = 0
	:: else
	fi;
	if
	:: PG(a, q).asker == k -> PG(a, q).asker = 0
	:: else
	fi
}

inline crash(k) {
	crashes--;
	dead[k] = 1;
	i = 0;
	do
	:: i < PAGES ->
		j = 1;
		do
		:: j <= NODES && j != k -> break_link(k, j, i); j++
		:: j == k -> j++
		:: j > NODES -> break
		od;
		forget(k, i);
		i++
	:: else -> break
	od;
	i = 0; j = 0;
	dying = 2 * PAGES /* last: from here on we wait */
}

/* What the home does about one page: word_evict() of pages_home.c. */
inline evict(k, q) {
	word[q] = word[q] & ~BIT(k);
	if
	:: HOLDER(word[q]) == k && (LOCKER(word[q]) == 0 ||
				    LOCKER(word[q]) == k) ->
		word[q] = NO_HOLDER(word[q]) | LOST << 3
	:: else
	fi;
	if
	:: LOCKER(word[q]) == k -> word[q] = word[q] & 63
	:: else
	fi;
	check(q)
}

#define FOR_NODE(k) \
	:: atomic { crashes && !dead[k] -> crash(k) } \
	:: atomic { dead[k] && evicted[k] < PAGES -> \
		evict(k, evicted[k]); evicted[k]++ } \
	:: atomic { RESTART && evicted[k] == PAGES -> \
		evicted[k] = 0; dead[k] = 0 }

#define FOR_PAGE(n, q) \
	:: atomic { PG(n, q).access == 2 && OTHERS_CUR(n, q) -> store(n, q) } \
	:: atomic { PG(n, q).taking -> \
		assert(HAS_BIT(n, word[q])); \
		word[q] = word[q] - BIT(n); PG(n, q).taking = 0; check(q) }

proctype World() provided (!dying)
{
	byte i, j;

end:	do
	FOR_NODE(1) /* the nodes are alike: it need not be another */
#if CRASHES > 1
	FOR_NODE(2)
#endif
	FOR_PAGE(1, 0)
	FOR_PAGE(2, 0)
	FOR_PAGE(3, 0)
#if PAGES == 2
	FOR_PAGE(1, 1)
	FOR_PAGE(2, 1)
	FOR_PAGE(3, 1)
#endif
	od
}

init {
	byte n = 1, p;

	atomic {
		run World();
		do
		:: n <= NODES ->
			p = 0;
			do
			:: p < PAGES ->
				run Fiber(n, p); run Server(n, p); p++
			:: else -> break
			od;
			n++
		:: else -> break
		od;
		n = 0; p = 0
	}
}
