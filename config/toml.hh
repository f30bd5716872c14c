// toml++ as we use it: without exceptions, its bodies compiled once (toml.cc), and nesting bounded
// (its trees are freed recursively; our deepest value is six levels down).
#pragma once

#define TOML_HEADER_ONLY 0
#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#define TOML_MAX_NESTED_VALUES 16

#include <toml++/toml.h>
