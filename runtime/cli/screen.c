/* SPDX-License-Identifier: BSD-2-Clause */
/* dipc top on a terminal, with ncurses. */
#include <curses.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runtime/cli/top.h"

#define HEAD_LINES 2 /* what is listed, and titles */
#define FOOT_LINES 1 /* keys */
#define NO_ID      INT32_MIN

struct screen {
	struct dipc_top *top;
	int32_t selected; /* a segment's id: rows change places */
	int first;        /* row shown at the top */
	bool is_silent;   /* nobody answered at the last look */
	struct timespec next;
};

/* ---- signals ------------------------------------------------------------ */

static volatile sig_atomic_t ending; /* the signal */

static void on_end(int sig)
{
	ending = sig;
}

/*
 * In the place of ncurses' own handlers, which exit where they are. SIGTSTP
 * and SIGWINCH stay with it.
 */
static void signals_take(void)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	struct sigaction action = {.sa_handler = on_end};
	unsigned i;

	sigemptyset(&action.sa_mask);
	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &action, NULL);
}

/* As it would have ended us. */
static int signals_give_back(void)
{
	if (!ending)
		return 0;
	signal(ending, SIG_DFL);
	raise(ending);
	return 128 + ending;
}

/* ---- drawing ------------------------------------------------------------ */

static void line(int y, attr_t attr, const char *text)
{
	int width = getmaxx(stdscr);

	attrset((int)attr);
	mvaddnstr(y, 0, text, width);
	if (attr) /* the whole line, as far as it goes */
		for (; getcurx(stdscr) < width - 1 && getcury(stdscr) == y;)
			addch(' ');
	attrset(A_NORMAL);
}

/* Which row is selected; the first, if that one is gone. */
static int selected_index(struct screen *s, const struct dipc_sample_row *rows,
			  unsigned nr)
{
	unsigned i;

	for (i = 0; i < nr; i++)
		if (rows[i].id == s->selected)
			return (int)i;
	s->selected = nr ? rows[0].id : NO_ID;
	return 0;
}

/* Pages of the selected segment, from line Y to END. */
static void draw_pages(const struct screen *s,
		       const struct dipc_sample_row *row, int y, int end)
{
	char text[DIPC_TOP_LINE];
	unsigned i;

	if (y >= end)
		return;
	line(y++, A_BOLD,
	     row->nr_pages ? "pages of the selected segment, the most "
			     "fought-over first"
			   : "no page of the selected segment was missed yet");
	for (i = 0; i < row->nr_pages && y < end; i++)
		line(y++, A_NORMAL,
		     dipc_top_page(s->top, &row->pages[i], text));
}

static void draw(struct screen *s)
{
	char text[DIPC_TOP_LINE];
	struct dipc_sample_row *rows;
	int height = getmaxy(stdscr), room, at, y, shown;
	unsigned nr;

	rows = dipc_top_rows(s->top, &nr);
	at = selected_index(s, rows, nr);
	/* half of it for the pages */
	room = (height - HEAD_LINES - FOOT_LINES + 1) / 2;
	if (room < 1)
		room = 1;
	if (at < s->first)
		s->first = at;
	if (at >= s->first + room)
		s->first = at - room + 1;
	erase();
	line(0, A_BOLD,
	     s->is_silent ? "dipc top: no dipcd answers any more"
			  : dipc_top_head(s->top, text));
	line(1, A_REVERSE, dipc_top_titles(text));
	y = HEAD_LINES;
	for (shown = s->first; shown < (int)nr && shown < s->first + room;
	     shown++)
		line(y++, shown == at ? A_STANDOUT : A_NORMAL,
		     dipc_top_row(s->top, &rows[shown], text));
	if (nr)
		draw_pages(s, &rows[at], y + 1, height - FOOT_LINES);
	line(height - 1, A_DIM, dipc_top_keys(text));
	refresh();
}

/* ---- time and keys ------------------------------------------------------ */

static void next_look(struct screen *s)
{
	clock_gettime(CLOCK_MONOTONIC, &s->next);
	s->next.tv_sec += (time_t)(s->top->delay_ms / 1000);
	s->next.tv_nsec += (long)(s->top->delay_ms % 1000) * 1000000;
	if (s->next.tv_nsec >= 1000000000) {
		s->next.tv_sec++;
		s->next.tv_nsec -= 1000000000;
	}
}

static int ms_left(const struct screen *s)
{
	struct timespec now;
	long ms;

	clock_gettime(CLOCK_MONOTONIC, &now);
	ms = (s->next.tv_sec - now.tv_sec) * 1000 +
	     (s->next.tv_nsec - now.tv_nsec) / 1000000;
	return ms < 0 ? 0 : (int)ms;
}

static void look(struct screen *s)
{
	s->is_silent = dipc_sample_take(s->top->sample);
	next_look(s);
}

static void move_selection(struct screen *s, int by)
{
	struct dipc_sample_row *rows;
	unsigned nr;
	int at;

	rows = dipc_top_rows(s->top, &nr);
	at = selected_index(s, rows, nr) + by;
	if (at >= 0 && at < (int)nr)
		s->selected = rows[at].id;
}

/* False: that is all. */
static bool key_pressed(struct screen *s, int key)
{
	if (key == 'q' || key == 'Q')
		return false;
	if (key == KEY_UP)
		move_selection(s, -1);
	else if (key == KEY_DOWN)
		move_selection(s, 1);
	else if (key == ' ')
		look(s);
	else if (key != KEY_RESIZE)
		(void)dipc_top_sort_by(s->top, key);
	return true;
}

/* A terminal that is gone answers at once, again and again. */
#define EARLY_MAX 100u

static void screen_loop(struct screen *s)
{
	unsigned nr_early = 0;
	int key;

	next_look(s);
	draw(s);
	while (!ending && nr_early < EARLY_MAX) {
		timeout(ms_left(s));
		key = getch();
		if (key != ERR && !key_pressed(s, key))
			return;
		nr_early = key == ERR && ms_left(s) > 0 ? nr_early + 1 : 0;
		if (ms_left(s) == 0)
			look(s);
		draw(s);
	}
}

int dipc_screen_run(struct dipc_top *top)
{
	struct screen s = {.top = top, .selected = NO_ID};
	const char *type = getenv("TERM");
	SCREEN *terminal;

	/* initscr() would exit by itself */
	terminal = newterm(NULL, stdout, stdin);
	if (!terminal)
		return dipc_cli_fail("terminal of an unknown type (%s): "
				     "use --batch",
				     type ? type : "TERM is not set");
	signals_take();
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	(void)curs_set(0); /* not every terminal can */
	screen_loop(&s);
	endwin();
	delscreen(terminal);
	return signals_give_back();
}
