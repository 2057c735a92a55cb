// Damaged model files must give an error or a model, never a crash. With libFuzzer (-fsanitize=fuzzer) this file is a
// target; else it mutates synthetic models itself:  fuzz [seconds] [seed]
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "synthetic.hpp"
#include "zoo.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    zoo_model* model = nullptr;
    if (zoo_model_load_memory(data, size, nullptr, &model) != ZOO_OK) return 0;
    zoo_session* session = nullptr;
    if (zoo_session_create(model, 1, &session) == ZOO_OK) {
        const std::int64_t z = zoo_model_species(model)[0], numbers[3] = {z, z, z};
        const double positions[9] = {0, 0, 0, 1, 0, 0, 0, 1.2, 0.3}, cell[9] = {5, 0, 0, 0, 5, 0, 0, 0, 5};
        double energy = 0, forces[9];
        zoo_structure structure{sizeof structure, 3, numbers, positions, cell, {1, 1, 1}};
        zoo_results results{};
        results.size = sizeof results;
        results.energy = &energy;
        results.forces = forces;
        // A far cutoff in a small cell asks for more neighbours than a fuzz run has time for.
        if (zoo_model_cutoff(model) < 10) zoo_compute_structure(session, &structure, 0, &results);
    }
    zoo_session_free(session);
    zoo_model_free(model);
    return 0;
}

#ifndef ZOO_LIBFUZZER
namespace {

std::string mutate(std::string file, std::mt19937& engine) {
    std::uint64_t header = 0;
    std::memcpy(&header, file.data(), 8);
    const auto below = [&](std::size_t n) { return n ? engine() % n : 0; };
    const int changes = 1 + int(below(4));
    for (int i = 0; i < changes; ++i) {
        // Most of the ways to be wrong are in the header.
        const std::size_t at = below(4) ? below(8 + header) : below(file.size());
        switch (below(8)) {
            case 0: file[at % file.size()] = char(engine()); break;
            case 1: file[at % file.size()] ^= char(1 << below(8)); break;
            case 2: file.resize(at + 1); break;
            case 3:
                file.insert(at % file.size(), std::string(1 + below(9), "0123456789[]{},:\"-eE."[below(21)]));
                break;
            case 4: file.erase(at % file.size(), 1 + below(16)); break;
            case 5: {  // another number
                std::size_t digit = file.find_first_of("0123456789", at % file.size());
                if (digit != std::string::npos) file[digit] = char('0' + below(10));
                break;
            }
            case 6: {  // a piece of the header somewhere else
                const std::string piece = file.substr(below(file.size()), 1 + below(64));
                file.insert(at % file.size(), piece);
                break;
            }
            default: file.replace(at % file.size(), 1, "\xff"); break;
        }
        if (file.size() < 16) file.resize(16);
    }
    if (below(2)) {  // let the stated length fit, so that what follows is read
        const std::size_t brace = file.find("}}", 8 + header / 2);
        const std::uint64_t fits = brace == std::string::npos ? header : brace + 2 - 8;
        if (below(2)) std::memcpy(file.data(), &fits, 8);
    }
    return file;
}

}  // namespace

int main(int argc, char** argv) {
    const double seconds = argc > 1 ? std::atof(argv[1]) : 5;
    std::mt19937 engine(argc > 2 ? unsigned(std::atoi(argv[2])) : 1u);
    const std::string files[] = {synthetic::schnet(16, 1, 4), synthetic::wacsf(), synthetic::wacsf(true)};
    const auto start = std::chrono::steady_clock::now();
    long runs = 0, loaded = 0;
    std::map<std::string, long> errors;
    while (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < seconds) {
        const std::string file = mutate(files[engine() % 3], engine);
        zoo_model* model = nullptr;
        const zoo_status status = zoo_model_load_memory(file.data(), file.size(), nullptr, &model);
        zoo_model_free(model);
        if (status == ZOO_OK)
            ++loaded, LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(file.data()), file.size());
        else if (status != ZOO_ERROR_FILE) std::printf("status %d: %s\n", int(status), zoo_last_error());
        else if (!*zoo_last_error()) return std::puts("an error without a message"), 1;
        ++runs;
    }
    std::printf("%ld files, %ld of them still models\n", runs, loaded);
    return 0;
}
#endif
