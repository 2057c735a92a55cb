/* Energy and forces of a water molecule from C.
 *
 *   energy path/to/model.safetensors [golden.json]
 *
 * With golden.json of the same release the program first checks itself against it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "zoo.h"

static void check(zoo_status status) {
    if (status == ZOO_OK) return;
    fprintf(stderr, "error: %s\n", zoo_last_error());
    exit(EXIT_FAILURE);
}

int main(int argc, char** argv) {
    const int64_t numbers[3] = {8, 1, 1};
    const double positions[9] = {0.0, 0.0, 0.119, 0.0, 0.763, -0.477, 0.0, -0.763, -0.477};
    double energy, forces[9];
    zoo_model* model;
    zoo_session* session;
    zoo_structure structure = {0};
    zoo_results results = {0};

    if (argc < 2 || zoo_abi_version() != ZOO_ABI_VERSION) {
        fprintf(stderr, "usage: %s model.safetensors [golden.json] (library %s)\n", argv[0], zoo_version());
        return EXIT_FAILURE;
    }
    check(zoo_model_load(argv[1], NULL, &model));
    check(zoo_session_create(model, 1, &session));
    printf("%s %s: %s\n", zoo_model_name(model), zoo_model_version(model), zoo_model_description(model));

    if (argc > 2) {
        double energy_error, force_error;
        check(zoo_selftest(session, argv[2], &energy_error, &force_error));
        printf("largest difference to %s: %.2e eV/atom, %.2e eV/A\n", argv[2], energy_error, force_error);
    }

    structure.size = sizeof structure;
    structure.n_atoms = 3;
    structure.numbers = numbers;
    structure.positions = positions;
    results.size = sizeof results;
    results.energy = &energy;
    results.forces = forces;
    check(zoo_compute_structure(session, &structure, 0.0, &results));
    printf("energy %.6f eV\n", energy);
    for (int i = 0; i < 3; ++i) {
        printf("force on atom %d  % .6f % .6f % .6f eV/A\n", i, forces[3 * i], forces[3 * i + 1], forces[3 * i + 2]);
    }
    zoo_session_free(session);
    zoo_model_free(model);
    return EXIT_SUCCESS;
}
