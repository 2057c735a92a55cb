/* SPDX-License-Identifier: GPL-2.0-only */
// What LAMMPS calls when it loads the plugin.
#include <string>

#include "error.h"
#include "lammps.h"
#include "pair_zoo.h"

using namespace LAMMPS_NS;

namespace {

// lammpsplugin_t of LAMMPS' lammpsplugin.h, which its Python package does not ship.
struct Plugin {
    const char *version, *style, *name, *info, *author;
    void* (*create)(void*);
    void* handle;
};

void* create(void* lmp) { return new PairZoo(static_cast<LAMMPS*>(lmp)); }

}  // namespace

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void* given, void* handle, void* registrar) {
    auto* lmp = static_cast<LAMMPS*>(given);
    // Classes change their layout from version to version; LAMMPS itself would only warn.
    if (lmp->num_ver != ZOO_LAMMPS_VERSION) {
        lmp->error->all(FLERR, "zooplugin.so was built for LAMMPS " + std::to_string(ZOO_LAMMPS_VERSION) +
                                   ", this is " + std::to_string(lmp->num_ver) + "; build it for this one");
    }
    Plugin plugin{lmp->version, "pair", "zoo", "released models of the zoo", "the authors of atomzoo", create, handle};
    reinterpret_cast<void (*)(Plugin*, void*)>(registrar)(&plugin, given);
}
