// Small models with random weights as safetensors files in memory, so that the tests need nothing from outside.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace synthetic {

class File {
  public:
    template <class T>
    void add(const std::string& name, const std::vector<int>& shape, const std::vector<T>& values) {
        const std::size_t from = data_.size();
        data_.resize(from + values.size() * sizeof(T));
        std::memcpy(data_.data() + from, values.data(), values.size() * sizeof(T));
        std::string extents;
        for (const int extent : shape) extents += (extents.empty() ? "" : ",") + std::to_string(extent);
        const char* dtype = std::is_same_v<T, float> ? "F32" : std::is_same_v<T, double> ? "F64" : "I64";
        header_ += ",\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":[" + extents + "],\"data_offsets\":[" +
                   std::to_string(from) + "," + std::to_string(data_.size()) + "]}";
    }

    void random(const std::string& name, const std::vector<int>& shape, double scale) {
        std::size_t count = 1;
        for (const int extent : shape) count *= std::size_t(extent);
        std::vector<float> values(count);
        for (auto& value : values) value = float(scale * (2.0 * double(engine_()) / 4294967295.0 - 1));
        add(name, shape, values);
    }

    std::string bytes(const std::string& document) const {
        std::string escaped;
        for (const char c : document) escaped += c == '"' ? std::string("\\\"") : std::string(1, c);
        const std::string header = "{\"__metadata__\":{\"zoo.json\":\"" + escaped + "\"}" + header_ + "}";
        std::string out(8, '\0');
        const std::uint64_t size = header.size();
        std::memcpy(out.data(), &size, 8);
        return out + header + data_;
    }

  private:
    std::string header_, data_;
    std::mt19937 engine_{7};
};

inline std::string document(const std::string& representation, const std::string& head) {
    return "{\"schema\":1,\"name\":\"synthetic\",\"version\":\"1.0.0\",\"hyperparameters\":{\"representation\":{" +
           representation + ",\"species\":[1,6,8],\"cutoff\":4.0},\"heads\":{\"energy\":{\"kind\":\"" + head +
           "\",\"property\":\"energy\",\"unit\":\"eV\"}}}}";
}

inline std::string schnet(int features = 24, int interactions = 3, int gaussians = 12) {
    File file;
    const int f = features, g = gaussians;
    file.add<std::int64_t>("species", {3}, {1, 6, 8});
    file.random("representation.embedding.weight", {3, f}, 1);
    std::vector<float> centers(static_cast<std::size_t>(g));
    for (int k = 0; k < g; ++k) centers[std::size_t(k)] = 4.0f * float(k) / float(g - 1);
    file.add("representation.centers", {g}, centers);
    file.add("representation.gamma", {}, std::vector<float>{0.5f / (centers[1] * centers[1])});
    const double scale = 2.0 / std::sqrt(double(f));
    for (int l = 0; l < interactions; ++l) {
        const std::string at = "representation.interactions." + std::to_string(l) + ".";
        file.random(at + "filter_network.0.weight", {f, g}, 1);
        file.random(at + "filter_network.0.bias", {f}, 0.3);
        file.random(at + "filter_network.2.weight", {f, f}, scale);
        file.random(at + "filter_network.2.bias", {f}, 0.3);
        file.random(at + "in_features.weight", {f, f}, scale);
        file.random(at + "out_network.0.weight", {f, f}, scale);
        file.random(at + "out_network.0.bias", {f}, 0.3);
        file.random(at + "out_network.2.weight", {f, f}, scale);
        file.random(at + "out_network.2.bias", {f}, 0.3);
    }
    file.random("heads.energy.network.0.weight", {f / 2, f}, scale);
    file.random("heads.energy.network.0.bias", {f / 2}, 0.3);
    file.random("heads.energy.network.2.weight", {1, f / 2}, 1);
    file.random("heads.energy.network.2.bias", {1}, 1);
    file.add<double>("heads.energy.scale", {}, {0.5});
    file.add<double>("heads.energy.reference", {3}, {-13.6, -1029.9, -2042.6});
    return file.bytes(document("\"kind\":\"schnet\",\"features\":" + std::to_string(f) + ",\"interactions\":" +
                                   std::to_string(interactions) + ",\"gaussians\":" + std::to_string(g),
                               "atomwise"));
}

inline std::string wacsf(bool crossterms = false) {
    File file;
    const int radial = 6, angular = 3, features = radial + 2 * angular;
    file.add<std::int64_t>("species", {3}, {1, 6, 8});
    file.add("representation.radial_eta", {radial}, std::vector<float>(radial, 2.0f));
    file.add("representation.radial_mu", {radial}, std::vector<float>{0.5f, 1.1f, 1.7f, 2.3f, 2.9f, 3.5f});
    file.add("representation.angular_eta", {angular}, std::vector<float>{0.5f, 0.1f, 0.04f});
    file.add("representation.angular_mu", {angular}, std::vector<float>(angular, 0.0f));
    file.add("representation.angular_lambda", {2}, std::vector<float>{1, -1});
    file.add("representation.angular_zeta", {2}, std::vector<float>{1, 1});
    file.add("representation.radial_weight", {3, 1}, std::vector<float>{1, 6, 8});
    file.add("representation.angular_weight", {3, 3, 1}, std::vector<float>{1, 6, 8, 6, 36, 48, 8, 48, 64});
    file.random("representation.mean", {features}, 1);
    file.add("representation.stddev", {features}, std::vector<float>(features, 5.0f));
    file.random("heads.energy.network.0.weight", {3, features, features / 2}, 0.5);
    file.random("heads.energy.network.0.bias", {3, features / 2}, 0.3);
    file.random("heads.energy.network.2.weight", {3, features / 2, 1}, 0.5);
    file.random("heads.energy.network.2.bias", {3, 1}, 0.3);
    file.add<double>("heads.energy.scale", {}, {0.5});
    file.add<double>("heads.energy.reference", {3}, {-13.6, -1029.9, -2042.6});
    return file.bytes(document(
        std::string("\"kind\":\"wacsf\",\"radial\":6,\"angular\":3,\"crossterms\":") + (crossterms ? "true" : "false"),
        "elemental_atomwise"));
}

}  // namespace synthetic
