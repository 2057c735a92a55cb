// The C ABI: handles, codes and messages around the classes.
#include <cstring>
#include <new>

#include "error.hpp"
#include "selftest.hpp"
#include "session.hpp"

struct zoo_model {
    std::shared_ptr<const zoo::Model> model;
};

struct zoo_session {
    zoo::Session session;
};

namespace {

thread_local char message[1024] = "";

zoo_status fail(zoo_status code, const char* text) noexcept {
    std::strncpy(message, text, sizeof message - 1);
    return code;
}

template <class F>
zoo_status guard(const F& f) noexcept {
    try {
        f();
        return ZOO_OK;
    } catch (const zoo::Error& error) {
        return fail(error.code, error.what());
    } catch (const std::bad_alloc&) {
        return fail(ZOO_ERROR_MEMORY, "not enough memory");
    } catch (const std::exception& error) {
        return fail(ZOO_ERROR_INTERNAL, error.what());
    } catch (...) {
        return fail(ZOO_ERROR_INTERNAL, "an unknown error");
    }
}

template <class P>
P* required(P* pointer, const char* name) {
    if (!pointer) zoo::bad_argument(std::string(name) + " is NULL");
    return pointer;
}

zoo::Options read(const zoo_options* given) {
    zoo_options options;
    zoo_options_init(&options);
    if (given) {
        if (given->size != sizeof options)
            zoo::bad_argument("zoo_options has another size than this library's; use zoo_options_init");
        options = *given;
    }
    if (options.dtype != ZOO_FLOAT32 && options.dtype != ZOO_FLOAT64)
        zoo::bad_argument("dtype must be ZOO_FLOAT32 or ZOO_FLOAT64");
    if (options.filters != ZOO_TABULATED && options.filters != ZOO_EXACT)
        zoo::bad_argument("filters must be ZOO_TABULATED or ZOO_EXACT");
    if (!(options.tolerance >= 1e-12 && options.tolerance <= 1)) zoo::bad_argument("tolerance must be from 1e-12 to 1");
    return {options.dtype == ZOO_FLOAT64, options.filters == ZOO_EXACT, options.tolerance, options.instruction_set,
            options.member};
}

void load(zoo::Safetensors file, const zoo_options* options, zoo_model** model) {
    *model = new zoo_model{std::make_shared<const zoo::Model>(file, read(options))};
}

const zoo::Parameters& parameters(const zoo_model* model) { return model->model->parameters; }

}  // namespace

int zoo_abi_version(void) { return ZOO_ABI_VERSION; }
const char* zoo_version(void) { return ZOO_VERSION; }
const char* zoo_last_error(void) { return message; }

void zoo_options_init(zoo_options* options) {
    *options = {sizeof(zoo_options), ZOO_FLOAT32, ZOO_TABULATED, 2e-7, nullptr, -1};
}

zoo_status zoo_model_load(const char* path, const zoo_options* options, zoo_model** model) {
    return guard([&] { load(zoo::Safetensors::open(required(path, "path")), options, required(model, "model")); });
}

zoo_status zoo_model_load_memory(const void* data, size_t size, const zoo_options* options, zoo_model** model) {
    return guard([&] {
        const auto* bytes = static_cast<const unsigned char*>(required(data, "data"));
        load(zoo::Safetensors({bytes, bytes + size}, "the model in memory"), options, required(model, "model"));
    });
}

void zoo_model_free(zoo_model* model) { delete model; }

const char* zoo_model_name(const zoo_model* model) { return parameters(model).name.c_str(); }
const char* zoo_model_version(const zoo_model* model) { return parameters(model).version.c_str(); }
const char* zoo_model_metadata(const zoo_model* model) { return parameters(model).metadata.c_str(); }
const char* zoo_model_description(const zoo_model* model) { return model->model->engine->description.c_str(); }
const char* zoo_model_length_unit(const zoo_model*) { return "angstrom"; }
const char* zoo_model_energy_unit(const zoo_model*) { return "eV"; }
double zoo_model_cutoff(const zoo_model* model) { return parameters(model).cutoff; }
double zoo_model_interaction_range(const zoo_model* model) { return parameters(model).interaction_range; }
int zoo_model_n_species(const zoo_model* model) { return int(parameters(model).species.size()); }
const int* zoo_model_species(const zoo_model* model) { return parameters(model).species.data(); }
int zoo_model_n_layers(const zoo_model* model) { return model->model->engine->layers; }
int zoo_model_n_features(const zoo_model* model) { return model->model->engine->features; }
int zoo_model_n_heads(const zoo_model* model) { return int(parameters(model).heads.size()); }

zoo_status zoo_model_head(const zoo_model* model, int h, const char** property, const char** unit, int* is_mean) {
    return guard([&] {
        const auto& heads = parameters(required(model, "model")).heads;
        if (h < 0 || h >= int(heads.size())) zoo::bad_argument("there is no such head");
        const zoo::Head& head = heads[std::size_t(h)];
        if (property) *property = head.property.c_str();
        if (unit) *unit = head.unit.c_str();
        if (is_mean) *is_mean = head.mean;
    });
}

void zoo_model_table_errors(const zoo_model* model, int* intervals, double* value, double* slope) {
    const zoo::Engine& engine = *model->model->engine;
    if (intervals) *intervals = engine.intervals;
    if (value) *value = engine.value_error;
    if (slope) *slope = engine.slope_error;
}

zoo_status zoo_session_create(const zoo_model* model, int threads, zoo_session** session) {
    return guard([&] {
        if (threads < 1 || threads > 1024) zoo::bad_argument("threads must be from 1 to 1024");
        *required(session, "session") = new zoo_session{{required(model, "model")->model, threads}};
    });
}

void zoo_session_free(zoo_session* session) { delete session; }

zoo_status zoo_session_pin(zoo_session* session, int n, const int* cores) {
    return guard([&] {
        zoo::Session& s = required(session, "session")->session;
        if (n != s.threads()) zoo::bad_argument("as many cores as threads are needed: " + std::to_string(s.threads()));
        s.pin({required(cores, "cores"), cores + n});
    });
}

zoo_status zoo_compute(zoo_session* session, const zoo_graph* graph, const zoo_results* results) {
    return guard([&] {
        required(session, "session")->session.compute(*required(graph, "graph"), *required(results, "results"));
    });
}

zoo_status zoo_compute_structure(zoo_session* session, const zoo_structure* structure, double skin,
                                 const zoo_results* results) {
    return guard([&] {
        required(session, "session")
            ->session.compute(*required(structure, "structure"), skin, *required(results, "results"));
    });
}

int64_t zoo_session_n_lists(const zoo_session* session) { return session->session.builds(); }

zoo_status zoo_layers_begin(zoo_session* session, const zoo_graph* graph) {
    return guard([&] { required(session, "session")->session.begin(*required(graph, "graph")); });
}

zoo_status zoo_layers_follow(zoo_session* session, const zoo_graph* graph) {
    return guard([&] { required(session, "session")->session.follow(*required(graph, "graph")); });
}

zoo_status zoo_layers_forward(zoo_session* session, int layer) {
    return guard([&] { required(session, "session")->session.forward(layer); });
}

zoo_status zoo_layers_energy(zoo_session* session) {
    return guard([&] { required(session, "session")->session.energy(); });
}

zoo_status zoo_layers_reverse(zoo_session* session, int layer) {
    return guard([&] { required(session, "session")->session.reverse(layer); });
}

zoo_status zoo_layers_end(zoo_session* session, const zoo_results* results) {
    return guard([&] { required(session, "session")->session.end(*required(results, "results")); });
}

// Calls f(worker, atom, row) for each of n atoms: those listed, or those from `first` on.
template <class Row, class F>
static zoo_status rows(const zoo_session* session, int64_t n, const int* atoms, int64_t first, Row* buffer,
                       const F& f) {
    return guard([&] {
        const zoo::Session& s = required(session, "session")->session;
        const int features = s.model().engine->features;
        zoo::Worker& worker = s.exchange(first, atoms ? 0 : n);
        for (int64_t i = 0; i < n; ++i) {
            if (atoms) s.exchange(atoms[i], 1);
            f(worker, int(atoms ? atoms[i] : first + i), required(buffer, "buffer") + i * features);
        }
    });
}

zoo_status zoo_pack_features(const zoo_session* session, int64_t n, const int* atoms, double* buffer) {
    return rows(session, n, atoms, 0, buffer, [](zoo::Worker& w, int atom, double* row) { w.get_features(atom, row); });
}

zoo_status zoo_unpack_features(zoo_session* session, int64_t n, int64_t first, const double* buffer) {
    return rows(session, n, nullptr, first, buffer,
                [](zoo::Worker& w, int atom, const double* row) { w.set_features(atom, row); });
}

zoo_status zoo_pack_gradients(const zoo_session* session, int64_t n, int64_t first, double* buffer) {
    return rows(session, n, nullptr, first, buffer,
                [](zoo::Worker& w, int atom, double* row) { w.get_gradients(atom, row); });
}

zoo_status zoo_unpack_gradients(zoo_session* session, int64_t n, const int* atoms, const double* buffer) {
    return rows(session, n, atoms, 0, buffer,
                [](zoo::Worker& w, int atom, const double* row) { w.add_gradients(atom, row); });
}

zoo_status zoo_selftest(zoo_session* session, const char* golden_json, double* energy_error, double* force_error) {
    return guard([&] {
        const zoo::Deviation d =
            zoo::selftest(required(session, "session")->session, required(golden_json, "golden_json"));
        if (energy_error) *energy_error = d.energy;
        if (force_error) *force_error = d.forces;
    });
}
