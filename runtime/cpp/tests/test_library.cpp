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
    }
    std::puts("ok");
    return 0;
}
