// C++17 wrapper of zoo.h: handles that free themselves, exceptions instead of codes. Header only.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "zoo.h"

namespace zoo {

class Failure : public std::runtime_error {
  public:
    explicit Failure(zoo_status status) : std::runtime_error(zoo_last_error()), status(status) {}
    zoo_status status;
};

inline void check(zoo_status status) {
    if (status != ZOO_OK) throw Failure(status);
}

// Energy in eV, forces in eV/A, virial in eV (stress = -virial / volume), for one structure.
struct Prediction {
    double energy = 0;
    std::vector<double> energies;
    std::vector<std::array<double, 3>> forces;
    std::array<double, 9> virial{};
};

struct Structure {
    std::vector<std::int64_t> numbers;
    std::vector<std::array<double, 3>> positions;  // angstrom
    std::array<double, 9> cell{};                  // angstrom, lattice vectors as rows
    std::array<bool, 3> periodic{};
};

class Model {
  public:
    explicit Model(const std::string& path, zoo_dtype dtype = ZOO_FLOAT32, int member = -1) {
        zoo_options options;
        zoo_options_init(&options);
        options.dtype = dtype;
        options.member = member;
        zoo_model* model = nullptr;
        check(zoo_model_load(path.c_str(), &options, &model));
        model_.reset(model);
    }

    std::string name() const { return zoo_model_name(get()); }
    std::string version() const { return zoo_model_version(get()); }
    std::string description() const { return zoo_model_description(get()); }
    std::string metadata() const { return zoo_model_metadata(get()); }
    double cutoff() const { return zoo_model_cutoff(get()); }
    double interaction_range() const { return zoo_model_interaction_range(get()); }
    std::vector<int> species() const {
        return {zoo_model_species(get()), zoo_model_species(get()) + zoo_model_n_species(get())};
    }
    const zoo_model* get() const { return model_.get(); }

  private:
    struct Free {
        void operator()(zoo_model* model) const { zoo_model_free(model); }
    };
    std::unique_ptr<zoo_model, Free> model_;
};

class Session {
  public:
    explicit Session(const Model& model, int threads = 1) {
        zoo_session* session = nullptr;
        check(zoo_session_create(model.get(), threads, &session));
        session_.reset(session);
    }

    // With the library's own neighbour list, kept from call to call while it is complete for this skin (angstrom).
    Prediction operator()(const Structure& structure, double skin = 0) {
        zoo_structure s{};
        s.size = sizeof s;
        s.n_atoms = std::int64_t(structure.numbers.size());
        s.numbers = structure.numbers.data();
        s.positions = structure.positions.empty() ? nullptr : structure.positions.front().data();
        s.cell = structure.cell.data();
        for (int k = 0; k < 3; ++k) s.periodic[k] = structure.periodic[std::size_t(k)];
        Prediction out;
        out.energies.resize(structure.numbers.size());
        out.forces.resize(structure.numbers.size());
        zoo_results results{};
        results.size = sizeof results;
        results.energy = &out.energy;
        results.energies = out.energies.data();
        results.forces = out.forces.empty() ? nullptr : out.forces.front().data();
        results.virial = out.virial.data();
        check(zoo_compute_structure(session_.get(), &s, skin, &results));
        return out;
    }

    void operator()(const zoo_graph& graph, const zoo_results& results) {
        check(zoo_compute(session_.get(), &graph, &results));
    }
    zoo_session* get() const { return session_.get(); }

  private:
    struct Free {
        void operator()(zoo_session* session) const { zoo_session_free(session); }
    };
    std::unique_ptr<zoo_session, Free> session_;
};

}  // namespace zoo
