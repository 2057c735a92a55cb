// Molecular dynamics at constant energy of a methane molecule or of what an xyz file holds.
//
//   dynamics path/to/model.safetensors [structure.xyz] [steps]
//
// Velocity Verlet with a step of 0.5 fs, from rest. The neighbour list is the library's own, with a skin.
#include <cstdio>
#include <fstream>
#include <map>
#include <string>

#include "zoo.hpp"

namespace {

constexpr double fs = 0.09822694788464063;  // in units of angstrom, eV and atomic mass
constexpr double step = 0.5 * fs;

const std::map<std::string, std::pair<int, double>> elements = {{"H", {1, 1.008}},  {"C", {6, 12.011}},
                                                                {"N", {7, 14.007}}, {"O", {8, 15.999}},
                                                                {"F", {9, 18.998}}, {"Si", {14, 28.085}}};

void add(zoo::Structure& structure, std::vector<double>& masses, const std::string& symbol,
         std::array<double, 3> position) {
    const auto& [number, mass] = elements.at(symbol);
    structure.numbers.push_back(number);
    structure.positions.push_back(position);
    masses.push_back(mass);
}

void read_xyz(const char* path, zoo::Structure& structure, std::vector<double>& masses) {
    std::ifstream stream(path);
    std::string line, symbol;
    std::size_t count = 0;
    stream >> count;
    std::getline(stream, line);
    std::getline(stream, line);
    std::array<double, 3> r{};
    while (count-- > 0 && stream >> symbol >> r[0] >> r[1] >> r[2]) {
        add(structure, masses, symbol, r);
        std::getline(stream, line);
    }
}

void run(const char* file, const char* xyz, int steps) {
    const zoo::Model model(file);
    zoo::Session session(model);
    zoo::Structure structure;
    std::vector<double> masses;
    if (xyz) {
        read_xyz(xyz, structure, masses);
    } else {
        add(structure, masses, "C", {0, 0, 0});
        for (const std::array<double, 3> r :
             {std::array<double, 3>{0.7, 0.6, 0.6}, {-0.6, -0.6, 0.6}, {-0.6, 0.6, -0.6}, {0.6, -0.6, -0.6}}) {
            add(structure, masses, "H", r);
        }
    }
    std::printf("%s\n", model.description().c_str());
    std::vector<std::array<double, 3>> velocities(masses.size());
    zoo::Prediction now = session(structure, 1.0);
    for (int n = 0; n <= steps; ++n) {
        double kinetic = 0;
        for (std::size_t i = 0; i < masses.size(); ++i) {
            for (std::size_t c = 0; c < 3; ++c) kinetic += 0.5 * masses[i] * velocities[i][c] * velocities[i][c];
        }
        if (n % 20 == 0) {
            std::printf("%8.1f fs  potential %14.6f eV  total %14.6f eV\n", 0.5 * n, now.energy, now.energy + kinetic);
        }
        for (std::size_t i = 0; i < masses.size(); ++i) {
            for (std::size_t c = 0; c < 3; ++c) {
                velocities[i][c] += 0.5 * step * now.forces[i][c] / masses[i];
                structure.positions[i][c] += step * velocities[i][c];
            }
        }
        now = session(structure, 1.0);
        for (std::size_t i = 0; i < masses.size(); ++i) {
            for (std::size_t c = 0; c < 3; ++c) velocities[i][c] += 0.5 * step * now.forces[i][c] / masses[i];
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: %s model.safetensors [structure.xyz] [steps]\n", argv[0]);
        return 1;
    }
    try {
        run(argv[1], argc > 2 ? argv[2] : nullptr, argc > 3 ? std::stoi(argv[3]) : 100);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 1;
    }
    return 0;
}
