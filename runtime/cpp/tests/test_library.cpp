// The promises of the C ABI that need no other program to check. Run with "leaks" it repeats calls and watches the
// memory.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <thread>

#include "synthetic.hpp"
#include "zoo.hpp"

namespace {

void require(bool condition, const char* what, int line) {
    if (condition) return;
    std::fprintf(stderr, "line %d: %s\n", line, what);
    std::exit(1);
}
#define REQUIRE(condition) require(condition, #condition, __LINE__)

struct Handle {
    zoo_model* model = nullptr;
    zoo_session* session = nullptr;
    Handle(const std::string& bytes, zoo_dtype dtype, int threads) {
        zoo_options options;
        zoo_options_init(&options);
        options.dtype = dtype;
        zoo::check(zoo_model_load_memory(bytes.data(), bytes.size(), &options, &model));
        zoo::check(zoo_session_create(model, threads, &session));
    }
    Handle(const Handle&) = delete;
    ~Handle() {
        zoo_model_free(model);  // before the session that uses it: allowed
        zoo_session_free(session);
    }
};

struct Box {
    std::vector<int64_t> numbers;
    std::vector<double> positions, cell;
    int side;
    explicit Box(int n) : cell{0, 0, 0, 0, 0, 0, 0, 0, 0}, side(n) {
        std::mt19937 engine(3);
        for (int i = 0; i < n * n * n; ++i) {
            numbers.push_back(std::vector<int64_t>{1, 6, 8}[engine() % 3]);
            for (const int k : {i / n / n, i / n % n, i % n})
                positions.push_back(2.2 * k + 0.4 * double(engine()) / 4294967295.0);
        }
        cell[0] = cell[4] = cell[8] = 2.2 * n;
        cell[3] = 0.3;
    }
    double energy(zoo_session* session, std::vector<double>* forces = nullptr) const {
        double value = 0;
        zoo_structure s{sizeof s, int64_t(numbers.size()), numbers.data(), positions.data(), cell.data(), {1, 1, 1}};
        zoo_results r{};
        r.size = sizeof r;
        r.energy = &value;
        if (forces) forces->resize(positions.size()), r.forces = forces->data();
        zoo::check(zoo_compute_structure(session, &s, 0.5, &r));
        return value;
    }
};

void forces_are_slopes(const std::string& bytes) {
    Handle zoo(bytes, ZOO_FLOAT64, 1);
    Box box(4);
    std::vector<double> forces;
    box.energy(zoo.session, &forces);
    double total[3] = {0, 0, 0};
    for (std::size_t i = 0; i < forces.size(); ++i) total[i % 3] += forces[i];
    for (const double sum : total) REQUIRE(std::abs(sum) < 1e-9);
    for (const std::size_t i : {0u, 50u, 100u}) {
        const double h = 1e-4, at = box.positions[i];
        box.positions[i] = at + h;
        const double up = box.energy(zoo.session);
        box.positions[i] = at - h;
        const double down = box.energy(zoo.session);
        box.positions[i] = at;
        REQUIRE(std::abs((down - up) / (2 * h) - forces[i]) < 1e-6 * (1 + std::abs(forces[i])));
    }
}

void threads_agree(const std::string& bytes) {
    const Box box(8);
    std::vector<double> one, more;
    double energy = 0;
    {
        Handle zoo(bytes, ZOO_FLOAT64, 1);
        energy = box.energy(zoo.session, &one);
    }
    for (const int threads : {2, 4}) {
        Handle zoo(bytes, ZOO_FLOAT64, threads);
        REQUIRE(std::abs(box.energy(zoo.session, &more) - energy) < 1e-8);
        for (std::size_t i = 0; i < one.size(); ++i) REQUIRE(std::abs(one[i] - more[i]) < 1e-9);
    }
}

void sessions_share_a_model(const std::string& bytes) {
    Handle zoo(bytes, ZOO_FLOAT32, 2);
    const Box box(5);
    const double expected = box.energy(zoo.session);
    std::vector<std::thread> users;
    for (int user = 0; user < 3; ++user) {
        users.emplace_back([&] {
            zoo_session* own = nullptr;
            zoo::check(zoo_session_create(zoo.model, 2, &own));
            for (int i = 0; i < 5; ++i) REQUIRE(box.energy(own) == expected);
            zoo_session_free(own);
        });
    }
    for (auto& user : users) user.join();
}

void misuse_is_refused(const std::string& bytes) {
    Handle zoo(bytes, ZOO_FLOAT32, 1);
    zoo_model* model = nullptr;
    REQUIRE(zoo_model_load("/nowhere/model.safetensors", nullptr, &model) == ZOO_ERROR_FILE && !model);
    REQUIRE(std::string(zoo_last_error()).find("/nowhere/model.safetensors") != std::string::npos);
    REQUIRE(zoo_model_load(nullptr, nullptr, &model) == ZOO_ERROR_ARGUMENT);
    REQUIRE(zoo_layers_forward(zoo.session, 0) == ZOO_ERROR_ARGUMENT);
    REQUIRE(zoo_layers_energy(zoo.session) == ZOO_ERROR_ARGUMENT);
    double buffer[8];
    REQUIRE(zoo_pack_gradients(zoo.session, 1, 0, buffer) == ZOO_ERROR_ARGUMENT);
    const int64_t numbers[2] = {1, 8}, centers[1] = {0}, neighbors[1] = {2};
    const double vectors[3] = {1, 0, 0};
    zoo_graph graph{};
    graph.size = sizeof graph;
    graph.n_atoms = graph.n_local = 2;
    graph.n_edges = graph.n_systems = 1;
    graph.numbers = numbers, graph.centers = centers, graph.neighbors = neighbors, graph.vectors = vectors;
    zoo_results results{};
    results.size = sizeof results;
    REQUIRE(zoo_compute(zoo.session, &graph, &results) == ZOO_ERROR_ARGUMENT);
    results.size = 1;
    REQUIRE(zoo_compute(zoo.session, &graph, &results) == ZOO_ERROR_ARGUMENT);
}

// All layers of a graph without ghosts.
double run_layers(const Handle& zoo, const zoo_graph& graph, bool follow, std::vector<double>& forces) {
    double energy = 0;
    zoo_results results{};
    results.size = sizeof results;
    results.energy = &energy;
    results.forces = forces.data();
    const int layers = zoo_model_n_layers(zoo.model);
    zoo::check(follow ? zoo_layers_follow(zoo.session, &graph) : zoo_layers_begin(zoo.session, &graph));
    for (int l = 0; l < layers; ++l) zoo::check(zoo_layers_forward(zoo.session, l));
    zoo::check(zoo_layers_energy(zoo.session));
    for (int l = layers; l-- > 0;) zoo::check(zoo_layers_reverse(zoo.session, l));
    zoo::check(zoo_layers_end(zoo.session, &results));
    return energy;
}

void a_graph_can_be_followed(const std::string& bytes) {
    Handle zoo(bytes, ZOO_FLOAT64, 2);
    Box box(4);
    std::vector<int64_t> centers, neighbors;
    const int64_t n = int64_t(box.numbers.size());
    for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < n; ++j) {
            double d2 = 0;
            for (int64_t k = 0; k < 3; ++k) {
                const double d = box.positions[std::size_t(3 * j + k)] - box.positions[std::size_t(3 * i + k)];
                d2 += d * d;
            }
            if (i != j && d2 < 5 * 5) centers.push_back(i), neighbors.push_back(j);  // farther than the cutoff, 4
        }
    }
    zoo_graph graph{};
    graph.size = sizeof graph;
    graph.n_atoms = graph.n_local = n;
    graph.n_edges = int64_t(centers.size());
    graph.n_systems = 1;
    graph.numbers = box.numbers.data();
    graph.centers = centers.data(), graph.neighbors = neighbors.data(), graph.positions = box.positions.data();
    std::vector<double> forces(box.positions.size()), expected(forces.size());
    REQUIRE(zoo_layers_follow(zoo.session, &graph) == ZOO_ERROR_ARGUMENT);
    run_layers(zoo, graph, false, forces);
    for (std::size_t i = 0; i < box.positions.size(); ++i) box.positions[i] += 0.1 * double(i % 5) - 0.2;
    const double energy = run_layers(zoo, graph, true, forces);
    REQUIRE(energy == run_layers(zoo, graph, false, expected));
    REQUIRE(forces == expected);
    ++graph.n_edges;
    REQUIRE(zoo_layers_follow(zoo.session, &graph) == ZOO_ERROR_ARGUMENT);
    --graph.n_edges;
    box.energy(zoo.session);
    REQUIRE(zoo_layers_follow(zoo.session, &graph) == ZOO_ERROR_ARGUMENT);
}

long resident_kilobytes() {
    std::ifstream status("/proc/self/statm");
    long total = 0, resident = 0;
    status >> total >> resident;
    return resident * 4;
}

void calls_do_not_leak(const std::string& bytes, int calls) {
    Handle zoo(bytes, ZOO_FLOAT32, 1);
    Box box(3);
    long before = 0;
    for (int i = 0; i < calls; ++i) {
        if (i == calls / 10) before = resident_kilobytes();
        box.positions[std::size_t(i % 80)] += 1e-3 * (i % 7 - 3);
        std::vector<double> forces;
        box.energy(zoo.session, &forces);
        zoo_session* other = nullptr;
        zoo::check(zoo_session_create(zoo.model, 1, &other));
        zoo_session_free(other);
    }
    const long grown = resident_kilobytes() - before;
    std::printf("%d calls: resident memory grew by %ld kB\n", calls, grown);
    REQUIRE(grown < 1024);
}

}  // namespace

int main(int argc, char** argv) {
    const bool leaks = argc > 1 && std::string(argv[1]) == "leaks";
    if (argc > 2 && std::string(argv[1]) == "write") {
        std::ofstream(argv[2], std::ios::binary) << synthetic::schnet();
        return 0;
    }
    for (const std::string& bytes : {synthetic::schnet(), synthetic::wacsf(), synthetic::wacsf(true)}) {
        if (leaks) {
            calls_do_not_leak(bytes, 10000);
            continue;
        }
        forces_are_slopes(bytes);
        threads_agree(bytes);
        sessions_share_a_model(bytes);
        misuse_is_refused(bytes);
        a_graph_can_be_followed(bytes);
    }
    std::puts("ok");
    return 0;
}
