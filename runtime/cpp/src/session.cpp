#include "session.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "error.hpp"

namespace zoo {
namespace {

constexpr int part_atoms = 192;  // systems that go through the network together, so that they stay in the cache

void check(const zoo_graph& graph, std::size_t layers_call) {
    const int64_t most = std::numeric_limits<int32_t>::max() / 2;
    if (graph.size != sizeof(zoo_graph))
        bad_argument("zoo_graph has another size than this library's; compare the versions");
    if (graph.n_local < 0 || graph.n_local > graph.n_atoms || graph.n_atoms > most)
        bad_argument("0 <= n_local <= n_atoms must hold");
    if (graph.n_edges < 0 || graph.n_edges > int64_t(1) << 40) bad_argument("n_edges is out of range");
    if (graph.n_systems < 1 || graph.n_systems > most) bad_argument("n_systems must be at least 1");
    if (graph.n_systems > 1 && (!graph.system || graph.n_local != graph.n_atoms || layers_call)) {
        bad_argument("several systems need `system`, and can have no ghosts and no layer-by-layer calls");
    }
    if (graph.n_atoms && !graph.numbers) bad_argument("numbers is missing");
    if (graph.n_edges && (!graph.centers || !graph.neighbors)) bad_argument("centers or neighbors is missing");
    if (graph.n_edges && !graph.vectors && !graph.positions) bad_argument("either vectors or positions must be given");
    for (int64_t i = 0; graph.system && i < graph.n_local; ++i) {
        const int64_t low = i ? graph.system[i - 1] : 0;
        if (graph.system[i] < low || graph.system[i] >= graph.n_systems)
            bad_argument("system must ascend from 0 to n_systems - 1");
    }
    for (int64_t e = 0; e < graph.n_edges; ++e) {
        const int64_t i = graph.centers[e], j = graph.neighbors[e];
        if (i < 0 || i >= graph.n_local || j < 0 || j >= graph.n_atoms) {
            bad_argument("edge " + std::to_string(e) + " joins atoms " + std::to_string(i) + " and " +
                         std::to_string(j) + "; centres must be local atoms and neighbours must exist");
        }
        if (graph.n_systems > 1 && graph.system[i] != graph.system[j])
            bad_argument("edge " + std::to_string(e) + " joins two systems");
    }
}

void check(const zoo_results& results) {
    if (results.size != sizeof(zoo_results))
        bad_argument("zoo_results has another size than this library's; compare the versions");
}

void add_product(double* to, const Vector& r, const Vector& g, double factor) {
    const double v[3] = {r.x, r.y, r.z}, w[3] = {g.x, g.y, g.z};
    for (int a = 0; a < 3; ++a) {
        for (int b = 0; b < 3; ++b) to[3 * a + b] += 0.5 * factor * (v[a] * w[b] + v[b] * w[a]);
    }
}

}  // namespace

Model::Model(Safetensors& file, const Options& options)
    : parameters(read_parameters(file, options.member)), engine(make_engine(parameters, options)) {}

Session::Session(std::shared_ptr<const Model> model, int threads)
    : model_(std::move(model)), pool_(threads), row_of_(119, -1) {
    const auto& species = model_->parameters.species;
    for (std::size_t s = 0; s < species.size(); ++s) row_of_[std::size_t(species[s])] = int32_t(s);
}

Worker& Session::worker(std::size_t i) {
    while (workers_.size() <= i) workers_.push_back(model_->engine->worker());
    return *workers_[i];
}

bool Session::wants_gradients(const zoo_results& results) const {
    const bool wanted = results.forces || results.virial || results.atom_virials || results.edge_gradients;
    const bool energy = wanted || results.energy || results.energies;
    if (energy && model_->parameters.energy_head() < 0) bad_argument("this model predicts no energy");
    return wanted;
}

void Session::set_elements(const PairList& list, const int64_t* numbers) {
    elements_.resize(std::size_t(list.n_atoms));
    for (int i = 0; i < list.n_atoms; ++i) {
        const int64_t z = numbers[list.host(i)];
        const int32_t row = z > 0 && z < int64_t(row_of_.size()) ? row_of_[std::size_t(z)] : -1;
        if (row < 0) {
            std::string allowed;
            for (const int s : model_->parameters.species) allowed += (allowed.empty() ? "" : ", ") + std::to_string(s);
            throw Error(ZOO_ERROR_STRUCTURE, "atom " + std::to_string(list.host(i)) + " has atomic number " +
                                                 std::to_string(z) + "; " + model_->parameters.name + " knows " +
                                                 allowed);
        }
        elements_[std::size_t(i)] = row;
    }
}

void Session::set_systems(const zoo_graph* graph, int n_local) {
    const int n_systems = graph ? int(graph->n_systems) : 1;
    system_.assign(std::size_t(n_local), 0);
    start_.assign(std::size_t(n_systems) + 1, n_local);
    start_[0] = 0;
    if (n_systems == 1) return;
    for (int i = n_local; i-- > 0;) {
        system_[std::size_t(i)] = int32_t(graph->system[i]);
        start_[std::size_t(graph->system[i])] = i;
    }
    for (std::size_t s = std::size_t(n_systems); s-- > 1;) {
        if (start_[s] > start_[s + 1] || (start_[s] == n_local && start_[s + 1] < n_local)) start_[s] = start_[s + 1];
    }
}

void Session::compute(const zoo_graph& graph, const zoo_results& results) {
    stage_ = Stage::none;
    edges_ = -1;
    check(graph, 0);
    check(results);
    const bool gradients = wants_gradients(results);
    list_.build(graph, true);
    list_.measure(graph);
    set_elements(list_, graph.numbers);
    set_systems(&graph, list_.n_local);
    run(list_, gradients);
    collect(list_, results);
}

void Session::compute(const zoo_structure& structure, double skin, const zoo_results& results) {
    stage_ = Stage::none;
    edges_ = -1;
    if (structure.size != sizeof(zoo_structure))
        bad_argument("zoo_structure has another size than this library's; compare the versions");
    check(results);
    if (structure.n_atoms < 0 || structure.n_atoms > std::numeric_limits<int32_t>::max() / 2)
        bad_argument("n_atoms is out of range");
    if (structure.n_atoms && (!structure.numbers || !structure.positions))
        bad_argument("numbers or positions is missing");
    if (!(skin >= 0 && skin <= 100)) bad_argument("skin must be from 0 to 100 angstrom");
    if (results.edge_gradients) bad_argument("edge_gradients needs edges; use zoo_compute");
    const bool gradients = wants_gradients(results);
    neighbors_.update(structure, model_->parameters.cutoff, skin);
    set_elements(neighbors_.list, structure.numbers);
    set_systems(nullptr, neighbors_.list.n_local);
    run(neighbors_.list, gradients);
    collect(neighbors_.list, results);
}

std::vector<double*> Session::contributions(int from) {
    const std::size_t heads = model_->parameters.heads.size(), n = contributions_.size() / heads;
    std::vector<double*> rows;
    for (std::size_t h = 0; h < heads; ++h) rows.push_back(contributions_.data() + h * n + from);
    return rows;
}

Part Session::part(const PairList& list, int first_system, int last_system, Pool* pool) const {
    const bool whole = first_system == 0 && std::size_t(last_system) + 1 == start_.size();
    const int from = whole ? 0 : start_[std::size_t(first_system)],
              to = whole ? list.n_atoms : start_[std::size_t(last_system)];
    const auto below = [](const Pair& pair, int atom) { return std::min(pair.a, pair.b) < atom; };
    const auto begin = std::lower_bound(list.pairs.begin(), list.pairs.end(), from, below);
    const auto end = std::lower_bound(begin, list.pairs.end(), to, below);
    return {&list,
            from,
            to - from,
            whole ? list.n_local : to - from,
            std::size_t(begin - list.pairs.begin()),
            std::size_t(end - begin),
            elements_.data() + from,
            pool};
}

void Session::run_part(const PairList& list, std::size_t w, int first_system, int last_system, Pool* pool,
                       bool gradients) {
    Worker& network = *workers_[w];
    const Part piece = part(list, first_system, last_system, pool);
    const int layers = model_->engine->layers;
    network.begin(piece);
    for (int l = 0; l < layers; ++l) network.forward(l);
    network.read_out(contributions(piece.first_atom).data(), gradients);
    if (!gradients) return;
    for (int l = layers; l-- > 0;) network.reverse(l);
    network.pair_gradients(gradients_.data() + piece.first_pair);
}

void Session::run(const PairList& list, bool gradients) {
    contributions_.assign(model_->parameters.heads.size() * std::size_t(list.n_local), 0.0);
    gradients_.assign(gradients ? list.pairs.size() : 0, Vector{0, 0, 0});
    std::vector<int> cuts{0};  // systems at which parts begin
    const int n_systems = int(start_.size()) - 1;
    for (int s = 1; s < n_systems; ++s) {
        if (start_[std::size_t(s) + 1] - start_[std::size_t(cuts.back())] > part_atoms) cuts.push_back(s);
    }
    cuts.push_back(n_systems);
    const int parts = int(cuts.size()) - 1;
    if (parts >= pool_.size()) {  // each thread has parts and memory of its own
        const int crews = pool_.size();
        worker(std::size_t(crews) - 1);
        std::atomic<int> next{0};
        pool_.run(crews, [&](int crew) {
            for (int i = next++; i < parts; i = next++) {
                run_part(list, std::size_t(crew), cuts[std::size_t(i)], cuts[std::size_t(i) + 1],
                         crews > 1 ? nullptr : &pool_, gradients);
            }
        });
        return;
    }
    worker(0);
    for (int i = 0; i < parts; ++i)
        run_part(list, 0, cuts[std::size_t(i)], cuts[std::size_t(i) + 1], &pool_, gradients);
}

void Session::collect(const PairList& list, const zoo_results& results) {
    collect_energies(list, results);
    collect_gradients(list, results);
    if (results.shortest) collect_shortest(list, results.shortest);
}

void Session::collect_shortest(const PairList& list, double* shortest) const {
    const std::size_t s = model_->parameters.species.size();
    std::fill_n(shortest, s * s, std::numeric_limits<double>::infinity());
    for (std::size_t p = 0; p < list.pairs.size(); ++p) {
        if (!(list.distances[p] < model_->parameters.cutoff)) continue;
        const std::size_t a = std::size_t(elements_[std::size_t(list.pairs[p].a)]);
        const std::size_t b = std::size_t(elements_[std::size_t(list.pairs[p].b)]);
        shortest[a * s + b] = shortest[b * s + a] = std::min(shortest[a * s + b], list.distances[p]);
    }
}

void Session::collect_energies(const PairList& list, const zoo_results& results) {
    const std::size_t n = std::size_t(list.n_local), heads = model_->parameters.heads.size();
    for (const double value : contributions_) {
        if (!std::isfinite(value))
            throw Error(ZOO_ERROR_STRUCTURE,
                        "the prediction is not a finite number; the structure is far from the training data");
    }
    for (std::size_t h = 0; h < heads && results.contributions; ++h) {
        for (std::size_t i = 0; i < n; ++i)
            results.contributions[h * n + std::size_t(list.host(int(i)))] = contributions_[h * n + i];
    }
    const int head = model_->parameters.energy_head();
    if (head < 0) return;
    const double* energies = contributions_.data() + std::size_t(head) * n;
    if (results.energy) std::fill_n(results.energy, start_.size() - 1, 0.0);
    for (std::size_t i = 0; i < n; ++i) {
        if (results.energy) results.energy[system_[i]] += energies[i];
        if (results.energies) results.energies[list.host(int(i))] = energies[i];
    }
}

void Session::collect_gradients(const PairList& list, const zoo_results& results) {
    if (results.forces) std::fill_n(results.forces, 3 * std::size_t(list.n_atoms), 0.0);
    if (results.virial) std::fill_n(results.virial, 9 * (start_.size() - 1), 0.0);
    if (results.atom_virials) std::fill_n(results.atom_virials, 9 * std::size_t(list.n_atoms), 0.0);
    for (std::size_t p = 0; p < gradients_.size(); ++p) {
        const Pair& pair = list.pairs[p];
        const Vector &g = gradients_[p], &r = list.vectors[p];
        const std::size_t a = std::size_t(list.host(pair.a)), b = std::size_t(list.host(pair.b));
        if (double* f = results.forces) {
            f[3 * a] += g.x, f[3 * a + 1] += g.y, f[3 * a + 2] += g.z;
            f[3 * b] -= g.x, f[3 * b + 1] -= g.y, f[3 * b + 2] -= g.z;
        }
        if (results.virial) add_product(results.virial + 9 * std::size_t(system_[std::size_t(pair.a)]), r, g, -1);
        if (results.atom_virials) {
            add_product(results.atom_virials + 9 * a, r, g, -0.5);
            add_product(results.atom_virials + 9 * b, r, g, -0.5);
        }
        if (double* out = results.edge_gradients) {
            const double half = pair.both ? 0.5 : 1.0, v[3] = {half * g.x, half * g.y, half * g.z};
            for (int c = 0; c < 3; ++c) {
                out[3 * pair.ab + c] = v[c];
                if (pair.both) out[3 * pair.ba + c] = -v[c];
            }
        }
    }
}

void Session::require_stage(Stage stage, int layer, const char* call) const {
    if (stage_ != stage || layer_ != layer)
        bad_argument(std::string(call) + " was called out of turn; see zoo.h for the order");
}

void Session::begin(const zoo_graph& graph) {
    stage_ = Stage::none;
    edges_ = -1;
    check(graph, 1);
    if (model_->parameters.energy_head() < 0) bad_argument("this model predicts no energy");
    list_.build(graph, false);
    set_elements(list_, graph.numbers);
    set_systems(&graph, list_.n_local);
    edges_ = graph.n_edges;
    start(graph);
}

void Session::follow(const zoo_graph& graph) {
    stage_ = Stage::none;
    if (graph.size != sizeof(zoo_graph) || graph.n_edges != edges_ || graph.n_atoms != list_.n_atoms ||
        graph.n_local != list_.n_local || (graph.n_edges && !graph.vectors && !graph.positions))
        bad_argument("zoo_layers_follow needs the atoms and edges of the zoo_layers_begin before it");
    start(graph);
}

void Session::start(const zoo_graph& graph) {
    list_.measure(graph);
    contributions_.assign(model_->parameters.heads.size() * std::size_t(list_.n_local), 0.0);
    gradients_.assign(list_.pairs.size(), Vector{0, 0, 0});
    worker(0).begin(part(list_, 0, 1, &pool_));
    stage_ = Stage::forward;
    layer_ = 0;
}

void Session::forward(int layer) {
    require_stage(Stage::forward, layer, "zoo_layers_forward");
    if (layer >= model_->engine->layers) bad_argument("zoo_layers_forward: there is no such layer");
    worker(0).forward(layer);
    ++layer_;
}

void Session::energy() {
    require_stage(Stage::forward, model_->engine->layers, "zoo_layers_energy");
    worker(0).read_out(contributions(0).data(), true);
    stage_ = Stage::reverse;
    layer_ = model_->engine->layers - 1;
}

void Session::reverse(int layer) {
    require_stage(Stage::reverse, layer, "zoo_layers_reverse");
    if (layer < 0) bad_argument("zoo_layers_reverse: there is no such layer");
    worker(0).reverse(layer);
    --layer_;
}

void Session::end(const zoo_results& results) {
    require_stage(Stage::reverse, -1, "zoo_layers_end");
    check(results);
    stage_ = Stage::none;
    worker(0).pair_gradients(gradients_.data());
    collect(list_, results);
}

Worker& Session::exchange(int64_t first, int64_t n) const {
    if (stage_ == Stage::none) bad_argument("rows can be exchanged only between zoo_layers_begin and zoo_layers_end");
    if (first < 0 || n < 0 || first + n > list_.n_atoms) bad_argument("rows of atoms that do not exist");
    return *workers_[0];
}

}  // namespace zoo
