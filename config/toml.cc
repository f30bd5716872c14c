// The one place where the bodies of toml++ are compiled.
#undef NDEBUG  // see toml.hh
#define TOML_IMPLEMENTATION
#include "config/toml.hh"
