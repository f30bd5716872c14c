// A full terminal that shows a page and waits for a key: curses, and nothing of it outside.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "tools/quorate/styled_text.hh"

namespace quorate {

class Screen {
  public:
    enum class Event { none, quit, redraw, refresh };

    // Takes over the terminal until it is destroyed; null where the terminal cannot do it.
    static std::unique_ptr<Screen> open();
    ~Screen();
    Screen(const Screen&) = delete;
    Screen& operator=(const Screen&) = delete;

    // Shows what fits, from the row the user has scrolled to; `footer` on the last row.
    void show(const Lines& page, const std::string& footer);
    // Waits for a key or until `until`. `redraw`: show() again (scrolled, resized).
    Event wait(std::chrono::steady_clock::time_point until);

  private:
    explicit Screen(void* terminal) : terminal_(terminal) {}
    void scroll(int rows);

    void* terminal_;
    int top_row_ = 0;
    int page_rows_ = 0;
};

}  // namespace quorate
