// The one place where the bodies of toml++ are compiled.
#define TOML_IMPLEMENTATION
#include "config/toml.hh"
