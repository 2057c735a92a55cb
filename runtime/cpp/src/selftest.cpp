#include "selftest.hpp"

#include <algorithm>
#include <cmath>

#include "error.hpp"
#include "json.hpp"

namespace zoo {
namespace {

constexpr std::size_t max_golden = std::size_t(256) << 20;

std::vector<double> matrix(const json::Value& rows, const char* name) {
    std::vector<double> out;
    for (const auto& row : rows.array(name)) {
        if (row.array(name).size() != 3) bad_file(std::string("golden.json: ") + name + " must have rows of three");
        for (const auto& value : row.array(name)) out.push_back(value.number(name));
    }
    return out;
}

Deviation compare(Session& session, const json::Value& golden) {
    std::vector<int64_t> numbers;
    for (const auto& z : golden.at("numbers", "a structure").array("numbers"))
        numbers.push_back(z.integer("numbers", 1, 118));
    const std::vector<double> positions = matrix(golden.at("positions", "a structure"), "positions");
    const std::vector<double> expected = matrix(golden.at("forces", "a structure"), "forces");
    if (positions.size() != 3 * numbers.size() || expected.size() != positions.size())
        bad_file("golden.json: sizes do not match");
    zoo_structure structure{};
    structure.size = sizeof structure;
    structure.n_atoms = int64_t(numbers.size());
    structure.numbers = numbers.data();
    structure.positions = positions.data();
    std::vector<double> cell;
    if (const json::Value* given = golden.find("cell"); given && !given->is_null()) cell = matrix(*given, "cell");
    structure.cell = cell.size() == 9 ? cell.data() : nullptr;
    if (const json::Value* pbc = golden.find("pbc"); pbc && !pbc->is_null()) {
        if (pbc->array("pbc").size() != 3) bad_file("golden.json: pbc must have three values");
        for (std::size_t k = 0; k < 3; ++k) structure.periodic[k] = pbc->array("pbc")[k].boolean("pbc");
    }
    double energy = 0;
    std::vector<double> forces(positions.size());
    zoo_results results{};
    results.size = sizeof results;
    results.energy = &energy;
    results.forces = forces.data();
    session.compute(structure, 0.0, results);
    Deviation out;
    out.energy = std::abs(energy - golden.at("energy", "a structure").number("energy")) /
                 std::max<double>(1, double(numbers.size()));
    for (std::size_t i = 0; i < forces.size(); ++i)
        out.forces = std::max(out.forces, std::abs(forces[i] - expected[i]));
    return out;
}

}  // namespace

Deviation selftest(Session& session, const std::string& path) {
    const std::vector<unsigned char> bytes = read_file(path, max_golden);
    const json::Value document = json::parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path.c_str());
    const json::Array& structures = document.at("structures", "golden.json").array("structures");
    if (structures.empty()) bad_file("golden.json holds no structures");
    Deviation worst;
    for (const auto& golden : structures) {
        const Deviation d = compare(session, golden);
        worst = {std::max(worst.energy, d.energy), std::max(worst.forces, d.forces)};
    }
    return worst;
}

}  // namespace zoo
