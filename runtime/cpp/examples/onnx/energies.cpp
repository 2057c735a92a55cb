// Energies and forces from model.onnx with ONNX Runtime's C API, beside those that golden.json of the release records.
//
//   energies path/to/release path/to/libonnxruntime.so [model-float64.onnx]
//
// The library is the one inside of the Python wheel, onnxruntime/capi/libonnxruntime.so.1.x, or any other. It is opened
// while the program runs, so none is needed to build. Exit code 0 where all agree, 1 where not or on an error.
#include <dlfcn.h>

#include <map>
#include <memory>

#include "../golden.hpp"
#include "onnxruntime_excerpt.h"

namespace {

const OrtApi* ort = nullptr;

void check(OrtStatus* status) {
    if (!status) return;
    const std::string text = ort->GetErrorMessage(status);
    ort->ReleaseStatus(status);
    throw std::runtime_error("onnxruntime: " + text);
}

template <class T>
using Owned = std::unique_ptr<T, void (*)(T*)>;

// Call what makes an object, check it, and own it.
template <class T, class Make>
Owned<T> make(void (*release)(T*), Make&& function) {
    T* made = nullptr;
    check(function(&made));
    return {made, release};
}

struct Tensor {
    std::vector<std::int64_t> shape;
    std::vector<std::int64_t> integers;  // one of the two holds the values
    std::vector<double> doubles;
};

// Which summands go into each row of a sum: [rows, K], free places filled with `padding`, which points at a row of
// zeros. The graph sums by gathering through these tables: a scatter would race with several threads.
Tensor slots(const std::vector<std::int64_t>& index, std::int64_t rows, std::int64_t padding) {
    std::vector<std::vector<std::int64_t>> lists(static_cast<std::size_t>(rows));
    for (std::size_t m = 0; m < index.size(); ++m) lists[std::size_t(index[m])].push_back(std::int64_t(m));
    std::size_t width = 1;
    for (const auto& list : lists) width = std::max(width, list.size());
    Tensor out{{rows, std::int64_t(width)}, {}, {}};
    for (auto& list : lists) {
        list.resize(width, padding);
        out.integers.insert(out.integers.end(), list.begin(), list.end());
    }
    return out;
}

// Rows of integers one below the other, each with the given dummies at its end.
Tensor table(std::vector<std::vector<std::int64_t>> rows, const std::vector<std::vector<std::int64_t>>& dummies) {
    Tensor out;
    for (std::size_t r = 0; r < rows.size(); ++r) {
        rows[r].insert(rows[r].end(), dummies[r].begin(), dummies[r].end());
        out.integers.insert(out.integers.end(), rows[r].begin(), rows[r].end());
    }
    out.shape = {std::int64_t(rows.size()), std::int64_t(rows[0].size())};
    return out;
}

Tensor vectors(const std::vector<std::array<double, 3>>& rows) {
    Tensor out{{std::int64_t(rows.size()), 3}, {}, {}};
    for (const auto& row : rows) out.doubles.insert(out.doubles.end(), row.begin(), row.end());
    return out;
}

// All that a graph may ask for; which of them it does, its list of inputs says.
std::map<std::string, Tensor> input(const golden::Structure& structure, const golden::Facts& facts) {
    golden::check_elements(structure, facts);
    const std::int64_t n = std::int64_t(structure.numbers.size());
    golden::Edges edges = golden::edges(structure, facts.cutoff);
    const std::int64_t e = edges.size();
    const bool solid = structure.periodic[0] || structure.periodic[1] || structure.periodic[2];
    std::map<std::string, Tensor> feeds;
    feeds["numbers"] = {{n}, structure.numbers, {}};                           // atomic numbers
    feeds["positions"] = vectors(structure.positions);                         // [n, 3] angstrom
    feeds["system"] = {{n}, std::vector<std::int64_t>(std::size_t(n), 0), {}}; // which of s systems, ascending
    feeds["cell"] = vectors({structure.cell.begin(), structure.cell.end()});   // [s, 3, 3] angstrom
    feeds["cell"].shape = {1, 3, 3};
    if (!solid) feeds["cell"].doubles.assign(9, 0.0);
    feeds["edges_0_slots"] = slots(edges.centers, n, e + 2);
    feeds["edges_1_slots"] = slots(edges.neighbors, n, e + 2);
    // Two dummy edges, of atom 0 with its own images at twice the cutoff, add nothing: no axis is ever empty.
    feeds["edges"] = table({edges.centers, edges.neighbors}, {{0, 0}, {0, 0}});  // [2, e + 2]
    std::vector<std::array<double, 3>> shifts = edges.shifts;                    // angstrom: r_ij = r_j + shift - r_i
    shifts.push_back({2 * facts.cutoff, 0, 0});
    shifts.push_back({0, 2 * facts.cutoff, 0});
    feeds["shifts"] = vectors(shifts);
    if (facts.triples) {
        const golden::Triples triples = golden::triples(edges);
        const std::int64_t t = std::int64_t(triples.centers.size());
        feeds["triples_0_slots"] = slots(triples.centers, n, t + 1);
        feeds["triples_1_slots"] = slots(triples.first, e + 2, t + 1);
        feeds["triples_2_slots"] = slots(triples.second, e + 2, t + 1);
        feeds["triples"] = table({triples.centers, triples.first, triples.second}, {{0}, {e}, {e + 1}});  // [3, t + 1]
    }
    return feeds;
}

Owned<OrtValue> value(Tensor& tensor, const OrtMemoryInfo* memory) {
    const bool whole = tensor.doubles.empty();
    void* data = whole ? static_cast<void*>(tensor.integers.data()) : tensor.doubles.data();
    const std::size_t bytes = 8 * (whole ? tensor.integers.size() : tensor.doubles.size());
    return make<OrtValue>(ort->ReleaseValue, [&](OrtValue** out) {
        return ort->CreateTensorWithDataAsOrtValue(
            memory, data, bytes, tensor.shape.data(), tensor.shape.size(),
            whole ? ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 : ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE, out);
    });
}

const double* doubles(OrtValue* output, std::size_t expected) {
    const auto info = make<OrtTensorTypeAndShapeInfo>(
        ort->ReleaseTensorTypeAndShapeInfo, [&](auto** out) { return ort->GetTensorTypeAndShape(output, out); });
    ONNXTensorElementDataType kind{};
    std::size_t count = 0;
    check(ort->GetTensorElementType(info.get(), &kind));
    check(ort->GetTensorShapeElementCount(info.get(), &count));
    if (kind != ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE || count != expected)
        throw std::runtime_error("the model gave something else than float64 energies and forces");
    void* data = nullptr;
    check(ort->GetTensorMutableData(output, &data));
    return static_cast<const double*>(data);
}

std::string taken(char* text, OrtAllocator* allocator) {  // copies a text of the library and frees it
    if (!text) return "";
    const std::string out = text;
    check(ort->AllocatorFree(allocator, text));
    return out;
}

int run(const std::string& release, const char* library, const std::string& file) {
    void* handle = dlopen(library, RTLD_NOW);
    if (!handle) throw std::runtime_error(dlerror());
    const auto base = reinterpret_cast<const OrtApiBase* (*)()>(dlsym(handle, "OrtGetApiBase"));
    if (!base || !(ort = base()->GetApi(ORT_API_VERSION)))
        throw std::runtime_error(std::string(library) + " is not ONNX Runtime 1.11 or newer");

    const auto env = make<OrtEnv>(
        ort->ReleaseEnv, [](OrtEnv** out) { return ort->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "energies", out); });
    const auto options = make<OrtSessionOptions>(ort->ReleaseSessionOptions, ort->CreateSessionOptions);
    check(ort->SetIntraOpNumThreads(options.get(), 1));
    const auto session = make<OrtSession>(ort->ReleaseSession, [&](OrtSession** out) {
        return ort->CreateSession(env.get(), (release + "/" + file).c_str(), options.get(), out);
    });
    const auto memory = make<OrtMemoryInfo>(ort->ReleaseMemoryInfo, [](OrtMemoryInfo** out) {
        return ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, out);
    });
    OrtAllocator* allocator = nullptr;
    check(ort->GetAllocatorWithDefaultOptions(&allocator));

    char* text = nullptr;
    const auto metadata = make<OrtModelMetadata>(
        ort->ReleaseModelMetadata, [&](auto** out) { return ort->SessionGetModelMetadata(session.get(), out); });
    check(ort->ModelMetadataLookupCustomMetadataMap(metadata.get(), allocator, "zoo.json", &text));
    const golden::Facts facts = golden::facts(taken(text, allocator));
    std::vector<std::string> names;
    std::size_t count = 0;
    check(ort->SessionGetInputCount(session.get(), &count));
    for (std::size_t k = 0; k < count; ++k) {
        check(ort->SessionGetInputName(session.get(), k, allocator, &text));
        names.push_back(taken(text, allocator));
    }
    std::printf("%s %s, ONNX Runtime %s, cutoff %g angstrom\n", facts.name.c_str(), facts.version.c_str(),
                base()->GetVersionString(), facts.cutoff);

    bool good = true;
    for (const golden::Structure& structure : golden::read(release + "/golden.json")) {
        std::map<std::string, Tensor> feeds = input(structure, facts);
        std::vector<Owned<OrtValue>> inputs;
        std::vector<const OrtValue*> pointers;
        std::vector<const char*> words;
        for (const std::string& name : names) {
            if (!feeds.count(name)) throw std::runtime_error(file + " asks for " + name + ", unknown to this host");
            inputs.push_back(value(feeds[name], memory.get()));
            pointers.push_back(inputs.back().get());
            words.push_back(name.c_str());
        }
        const char* asked[] = {"energy", "forces"};  // [s] eV, [n, 3] eV/angstrom; "energies", "stress" are there too
        OrtValue* answers[] = {nullptr, nullptr};
        check(ort->Run(session.get(), nullptr, words.data(), pointers.data(), words.size(), asked, 2, answers));
        const Owned<OrtValue> energy{answers[0], ort->ReleaseValue}, forces{answers[1], ort->ReleaseValue};
        good = golden::report(structure, facts, *doubles(energy.get(), 1),
                              doubles(forces.get(), 3 * structure.numbers.size())) && good;
    }
    return good ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 3) {
        std::fprintf(stderr, "usage: %s path/to/release path/to/libonnxruntime.so [model-float64.onnx]\n", argv[0]);
        return 1;
    }
    try {
        return run(argv[1], argv[2], argc > 3 ? argv[3] : "model.onnx");
    } catch (const std::exception& error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 1;
    }
}
