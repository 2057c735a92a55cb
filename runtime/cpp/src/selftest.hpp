#pragma once

#include <string>

#include "session.hpp"

namespace zoo {

struct Deviation {
    double energy = 0, forces = 0;  // largest: eV per atom, eV/A
};

// Computes the structures of golden.json; throws if the file is not one.
Deviation selftest(Session& session, const std::string& path);

}  // namespace zoo
