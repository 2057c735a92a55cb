/* libzoo: energies, forces and virials of released models, without Python.
 *
 * Units are electronvolt and angstrom. Matrices are row-major. Every function that can fail returns a zoo_status;
 * zoo_last_error() then holds one line for the user. No C++ exception leaves the library.
 *
 * Ownership: zoo_model_load* and zoo_session_create make objects that the caller frees with zoo_model_free and
 * zoo_session_free; a session keeps its model alive, so the order does not matter. Strings and arrays that the library
 * returns belong to the object asked and live as long as it. Arrays handed in are only read during the call.
 *
 * Threads: a model never changes and may be shared. A session is used by one thread at a time; make one for each.
 */
#ifndef ZOO_H
#define ZOO_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define ZOO_API __declspec(dllexport)
#else
#define ZOO_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Grows when a program built for an older version could no longer work; compare with zoo_abi_version(). */
#define ZOO_ABI_VERSION 2

typedef enum zoo_status {
    ZOO_OK = 0,
    ZOO_ERROR_ARGUMENT = 1,  /* a call that makes no sense */
    ZOO_ERROR_FILE = 2,      /* a model that cannot be read, is damaged or is newer than this library */
    ZOO_ERROR_STRUCTURE = 3, /* a structure that the model must not be asked about */
    ZOO_ERROR_MEMORY = 4,
    ZOO_ERROR_INTERNAL = 5
} zoo_status;

typedef enum zoo_dtype { ZOO_FLOAT32 = 0, ZOO_FLOAT64 = 1 } zoo_dtype;

typedef enum zoo_filters {
    ZOO_TABULATED = 0, /* functions of the distance from quintic B-splines */
    ZOO_EXACT = 1      /* SchNet's filter networks themselves: slow, to check the tables */
} zoo_filters;

typedef struct zoo_model zoo_model;
typedef struct zoo_session zoo_session;

/* Fill with zoo_options_init first, so that a later version may add fields. */
typedef struct zoo_options {
    size_t size;                 /* sizeof(zoo_options) */
    zoo_dtype dtype;             /* arithmetic of the network; sums and references are always float64 */
    zoo_filters filters;
    double tolerance;            /* of the tables: largest error of a slope, relative to the largest slope */
    const char* instruction_set; /* "avx512", "avx2", "baseline", or NULL for the best that this machine has */
    int member;                  /* of a file that holds a committee: which network, from 0; -1 for other files */
} zoo_options;

/* Atoms and directed edges. Local atoms come first; ghost atoms, if any, are neighbours but never centres. */
typedef struct zoo_graph {
    size_t size; /* sizeof(zoo_graph); start from a zeroed struct */
    int64_t n_atoms;
    int64_t n_local;   /* n_atoms where there are no ghosts */
    int64_t n_edges;
    int64_t n_systems;
    const int64_t* numbers;   /* [n_atoms] atomic numbers */
    const int64_t* system;    /* [n_local] ascending from 0, or NULL where there is one system */
    const int64_t* centers;   /* [n_edges] i < n_local */
    const int64_t* neighbors; /* [n_edges] j < n_atoms */
    const double* vectors;    /* [n_edges, 3] r_ij in angstrom, or NULL: positions and shifts are used */
    const double* positions;  /* [n_atoms, 3] angstrom; may be NULL where vectors are given */
    const double* shifts;     /* [n_edges, 3] angstrom, r_ij = r_j + shift - r_i; NULL for zeros */
} zoo_graph;

/* One structure, for hosts that have no neighbour list. */
typedef struct zoo_structure {
    size_t size; /* sizeof(zoo_structure); start from a zeroed struct */
    int64_t n_atoms;
    const int64_t* numbers;  /* [n_atoms] */
    const double* positions; /* [n_atoms, 3] angstrom, wrapped or not */
    const double* cell;      /* [3, 3] angstrom, lattice vectors as rows; NULL where nothing is periodic */
    int periodic[3];
} zoo_structure;

/* Where results go; NULL is not computed. All are float64, and are overwritten. */
typedef struct zoo_results {
    size_t size; /* sizeof(zoo_results); start from a zeroed struct */
    double* energy;         /* [n_systems] eV */
    double* energies;       /* [n_local] eV, each atom's share */
    double* forces;         /* [n_atoms, 3] eV/A, those on ghosts included */
    double* virial;         /* [n_systems, 3, 3] eV: -dE/dstrain = -sum r_ij (x) dE/dr_ij; stress = -virial / volume */
    double* atom_virials;   /* [n_atoms, 3, 3] eV, half of each edge's share to either end */
    double* edge_gradients; /* [n_edges, 3] eV/A, dE/dr_ij; the two directions of a pair share theirs equally */
    double* contributions;  /* [n_heads, n_local] what each atom adds to each property (zoo_model_head) */
    double* shortest;       /* [n_species, n_species] angstrom, shortest distance of each pair of elements within the
                             * cutoff, in the order of zoo_model_species; infinity where there is none */
} zoo_results;

ZOO_API int zoo_abi_version(void);
ZOO_API const char* zoo_version(void);
/* Message of the last failed call of this thread; never NULL. */
ZOO_API const char* zoo_last_error(void);

ZOO_API void zoo_options_init(zoo_options* options);
/* Load model.safetensors; options may be NULL. */
ZOO_API zoo_status zoo_model_load(const char* path, const zoo_options* options, zoo_model** model);
ZOO_API zoo_status zoo_model_load_memory(const void* data, size_t size, const zoo_options* options, zoo_model** model);
ZOO_API void zoo_model_free(zoo_model* model);

ZOO_API const char* zoo_model_name(const zoo_model* model);
ZOO_API const char* zoo_model_version(const zoo_model* model);
/* zoo.json, the whole metadata document. */
ZOO_API const char* zoo_model_metadata(const zoo_model* model);
/* One line: network, precision, instruction set, tables and their error. */
ZOO_API const char* zoo_model_description(const zoo_model* model);
/* Units of lengths and energies: "angstrom" and "eV". */
ZOO_API const char* zoo_model_length_unit(const zoo_model* model);
ZOO_API const char* zoo_model_energy_unit(const zoo_model* model);
ZOO_API double zoo_model_cutoff(const zoo_model* model);            /* of the neighbour list */
ZOO_API double zoo_model_interaction_range(const zoo_model* model); /* how far an atom's energy can see */
ZOO_API int zoo_model_n_species(const zoo_model* model);
ZOO_API const int* zoo_model_species(const zoo_model* model);       /* atomic numbers, ascending */
ZOO_API int zoo_model_n_layers(const zoo_model* model);             /* 1 for descriptor networks */
ZOO_API int zoo_model_n_features(const zoo_model* model);           /* what an atom sends to its neighbours; 0 if nothing */
ZOO_API int zoo_model_n_heads(const zoo_model* model);
/* Name of the property of head h ("energy", "charges", ...), its unit, and whether it is a mean over the atoms. */
ZOO_API zoo_status zoo_model_head(const zoo_model* model, int h, const char** property, const char** unit, int* is_mean);
/* Largest errors of the tables: of a value and of a slope, each relative to the largest one; 0 where exact. */
ZOO_API void zoo_model_table_errors(const zoo_model* model, int* intervals, double* value, double* slope);

/* threads >= 1. Results are bitwise repeatable for a given number of threads. */
ZOO_API zoo_status zoo_session_create(const zoo_model* model, int threads, zoo_session** session);
ZOO_API void zoo_session_free(zoo_session* session);
/* Keep the calling thread on cores[0] and the session's other threads on the next ones; as many cores as threads.
 * Worth it where the machine is not shared, or where the system puts all threads on one core. Linux only. */
ZOO_API zoo_status zoo_session_pin(zoo_session* session, int n, const int* cores);

/* Everything at once, from edges. Edges beyond the cutoff are allowed and add nothing. */
ZOO_API zoo_status zoo_compute(zoo_session* session, const zoo_graph* graph, const zoo_results* results);
/* The same with a neighbour list of the library's own, reused while no atom has moved too far for `skin` (angstrom,
 * 0 for a new list each time); a change of the cell is accounted for. edge_gradients must be NULL. */
ZOO_API zoo_status zoo_compute_structure(zoo_session* session, const zoo_structure* structure, double skin,
                                         const zoo_results* results);
/* How many neighbour lists zoo_compute_structure has built in this session. */
ZOO_API int64_t zoo_session_n_lists(const zoo_session* session);

/* Layer by layer, for hosts that spread one structure over processes. All processes call, also those without atoms:
 *
 *   zoo_layers_begin(session, graph)
 *   for l = 0 .. n_layers - 1:
 *       zoo_layers_forward(session, l)
 *       if l < n_layers - 1: send rows of features from owners to ghosts   (zoo_pack_features, zoo_unpack_features)
 *   zoo_layers_energy(session)
 *   for l = n_layers - 1 .. 0:
 *       zoo_layers_reverse(session, l)
 *       if l > 0: add rows of gradients from ghosts to owners              (zoo_pack_gradients, zoo_unpack_gradients)
 *   zoo_layers_end(session, results)
 *
 * Buffers hold zoo_model_n_features doubles an atom. Atoms keep the host's order.
 */
ZOO_API zoo_status zoo_layers_begin(zoo_session* session, const zoo_graph* graph);
/* In place of zoo_layers_begin where the atoms and edges are those of the last one, at other places: quicker, as the
 * edges need not be paired again. Edges may reach beyond the cutoff, so that one graph serves many steps. */
ZOO_API zoo_status zoo_layers_follow(zoo_session* session, const zoo_graph* graph);
ZOO_API zoo_status zoo_layers_forward(zoo_session* session, int layer);
ZOO_API zoo_status zoo_layers_energy(zoo_session* session);
ZOO_API zoo_status zoo_layers_reverse(zoo_session* session, int layer);
ZOO_API zoo_status zoo_layers_end(zoo_session* session, const zoo_results* results);
ZOO_API zoo_status zoo_pack_features(const zoo_session* session, int64_t n, const int* atoms, double* buffer);
ZOO_API zoo_status zoo_unpack_features(zoo_session* session, int64_t n, int64_t first, const double* buffer);
ZOO_API zoo_status zoo_pack_gradients(const zoo_session* session, int64_t n, int64_t first, double* buffer);
ZOO_API zoo_status zoo_unpack_gradients(zoo_session* session, int64_t n, const int* atoms, const double* buffer);

/* Compute the structures of a release's golden.json and give the largest differences: eV per atom and eV/A. */
ZOO_API zoo_status zoo_selftest(zoo_session* session, const char* golden_json, double* energy_error, double* force_error);

#ifdef __cplusplus
}
#endif

#endif /* ZOO_H */
