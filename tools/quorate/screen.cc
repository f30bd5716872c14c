#include "tools/quorate/screen.hh"

#include <algorithm>
#include <clocale>
#include <csignal>
#include <cstdio>

#include <poll.h>
#include <unistd.h>

#define NCURSES_NOMACROS
#include <ncurses.h>

namespace quorate {

namespace {

// writer: on_signal; reader: Screen::wait
volatile std::sig_atomic_t ended_by_signal = 0;

void on_signal(int) { ended_by_signal = 1; }

// So that the terminal is given back before the program ends.
void catch_signals() {
    struct sigaction action {};
    action.sa_handler = on_signal;
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaction(number, &action, nullptr);
}

attr_t attribute_of(Tone tone, bool colour) {
    const auto pair = [&](int number) {
        return colour ? static_cast<attr_t>(COLOR_PAIR(number)) : attr_t{A_NORMAL};
    };
    switch (tone) {
        case Tone::plain:
            return A_NORMAL;
        case Tone::strong:
            return A_BOLD;
        case Tone::dim:
            return A_DIM;
        case Tone::good:
            return pair(1);
        case Tone::warning:
            return pair(2) | (colour ? A_NORMAL : A_BOLD);
        case Tone::bad:
            return pair(3) | (colour ? A_BOLD : A_REVERSE);
    }
    return A_NORMAL;
}

bool start_colours() {
    if (!wants_colour(STDOUT_FILENO) || !has_colors() || start_color() != OK) return false;
    use_default_colors();
    init_pair(1, COLOR_GREEN, -1);
    init_pair(2, COLOR_YELLOW, -1);
    init_pair(3, COLOR_RED, -1);
    return true;
}

bool colours = false;

}  // namespace

std::unique_ptr<Screen> Screen::open() {
    if (::isatty(STDIN_FILENO) != 1 || ::isatty(STDOUT_FILENO) != 1) return nullptr;
    std::setlocale(LC_CTYPE, "");
    catch_signals();
    SCREEN* const terminal = newterm(nullptr, stdout, stdin);
    if (terminal == nullptr) return nullptr;
    set_term(terminal);
    cbreak();
    noecho();
    keypad(stdscr, TRUE);
    curs_set(0);
    colours = start_colours();
    return std::unique_ptr<Screen>(new Screen(terminal));
}

Screen::~Screen() {
    endwin();
    delscreen(static_cast<SCREEN*>(terminal_));
}

void Screen::show(const Lines& page, const std::string& footer) {
    page_rows_ = static_cast<int>(page.size());
    scroll(0);
    werase(stdscr);
    const int rows = std::max(getmaxy(stdscr) - 1, 0);
    const int columns = getmaxx(stdscr);
    for (int row = 0; row < rows && top_row_ + row < page_rows_; ++row) {
        wmove(stdscr, row, 0);
        for (const Span& span : page[static_cast<std::size_t>(top_row_ + row)]) {
            const int left = columns - getcurx(stdscr);
            if (left <= 1 || getcury(stdscr) != row) break;  // beyond the edge
            wattrset(stdscr, static_cast<int>(attribute_of(span.tone, colours)));
            waddnstr(stdscr, span.text.c_str(),
                     std::min(left - 1, static_cast<int>(span.text.size())));
        }
    }
    wattrset(stdscr, A_DIM);
    mvwaddnstr(stdscr, rows, 0, footer.c_str(), std::max(columns - 1, 0));
    wattrset(stdscr, A_NORMAL);
    wrefresh(stdscr);
}

void Screen::scroll(int rows) {
    const int last = std::max(page_rows_ - std::max(getmaxy(stdscr) - 1, 1), 0);
    top_row_ = std::clamp(top_row_ + rows, 0, last);
}

Screen::Event Screen::wait(std::chrono::steady_clock::time_point until) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    wtimeout(stdscr, static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 3'600'000)));
    const int key = wgetch(stdscr);
    if (ended_by_signal != 0) return Event::quit;
    const int half = std::max(getmaxy(stdscr) / 2, 1);
    switch (key) {
        case ERR: {
            // Also at the end of input: then it returns at once, again and again.
            pollfd input{STDIN_FILENO, 0, 0};
            return ::poll(&input, 1, 0) > 0 ? Event::quit : Event::none;
        }
        case 'q':
        case 'Q':
            return Event::quit;
        case ' ':
            return Event::refresh;
        case KEY_UP:
        case 'k':
            scroll(-1);
            return Event::redraw;
        case KEY_DOWN:
        case 'j':
            scroll(1);
            return Event::redraw;
        case KEY_PPAGE:
            scroll(-half);
            return Event::redraw;
        case KEY_NPAGE:
            scroll(half);
            return Event::redraw;
        case KEY_HOME:
            scroll(-top_row_);
            return Event::redraw;
        default:
            return Event::redraw;  // KEY_RESIZE among them
    }
}

}  // namespace quorate
