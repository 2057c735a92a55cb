// The one exception of the library. It never crosses the C ABI: api.cpp turns it into a code and a message.
#pragma once

#include <stdexcept>
#include <string>

#include "zoo.h"

namespace zoo {

struct Error : std::runtime_error {
    Error(zoo_status status, const std::string& text) : std::runtime_error(text), code(status) {}
    zoo_status code;
};

[[noreturn]] inline void bad_file(const std::string& text) { throw Error(ZOO_ERROR_FILE, text); }
[[noreturn]] inline void bad_argument(const std::string& text) { throw Error(ZOO_ERROR_ARGUMENT, text); }

}  // namespace zoo
