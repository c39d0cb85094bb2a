#include "cli/spec/message_reader.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "cli/spec/suggest.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/duration.pb.h"
#include "proto/job.pb.h"

namespace ringmaster::cli {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr size_t kMaxBytes = 1 << 20;  // a job file is a page; more is a mistake (a data file, a binary)

std::vector<std::string> FieldNames(const Descriptor& descriptor) {
  std::vector<std::string> names;
  for (int i = 0; i < descriptor.field_count(); ++i) names.push_back(descriptor.field(i)->name());
  return names;
}

// "did you mean "x"? known here: a, b" for a name that is none of the message's fields.
std::string UnknownField(const std::string& name, const Descriptor& descriptor) {
  const std::vector<std::string> known = FieldNames(descriptor);
  const std::string nearest = NearestName(name, known);
  return absl::StrCat("unknown field \"", name, "\"", nearest.empty() ? "" : absl::StrCat("; did you mean \"", nearest, "\"?"),
                      " (known here: ", absl::StrJoin(known, ", "), ")");
}

std::string Describe(const YAML::Node& node) {
  switch (node.Type()) {
    case YAML::NodeType::Scalar: return absl::StrCat("\"", node.Scalar(), "\"");
    case YAML::NodeType::Sequence: return "a list";
    case YAML::NodeType::Map: return "a map";
    default: return "nothing";
  }
}

// One document's worth of reading: carries where things stand and where findings go.
class Reader {
 public:
  Reader(std::string source, bool has_lines, FieldLocations* locations, Diagnostics* diagnostics)
      : source_(std::move(source)), has_lines_(has_lines), locations_(*locations), diagnostics_(*diagnostics) {}

  void ReadFields(const YAML::Node& node, const std::string& path, Message* message);
  void ReadField(const YAML::Node& value, const Location& place, const std::string& path, const FieldDescriptor& field,
                 Message* message);

 private:
  Location PlaceOf(const YAML::Node& node) const {
    const YAML::Mark mark = node.Mark();
    return has_lines_ && !mark.is_null() ? Location{source_, mark.line + 1, mark.column + 1} : Location{source_, 0, 0};
  }
  void Fail(const YAML::Node& node, const std::string& path, const std::string& expected) {
    diagnostics_.Add(PlaceOf(node), absl::StrCat(path, ": expected ", expected, ", found ", Describe(node)));
  }
  void ReadMessageField(const YAML::Node& value, const std::string& path, const FieldDescriptor& field, Message* message);
  void ReadMap(const YAML::Node& value, const std::string& path, const FieldDescriptor& field, Message* message);
  void ReadScalar(const YAML::Node& value, const std::string& path, const FieldDescriptor& field, Message* message);
  template <typename Integer>
  std::optional<Integer> ReadInteger(const YAML::Node& value, const std::string& path);
  std::optional<double> ReadDouble(const YAML::Node& value, const std::string& path);

  const std::string source_;
  const bool has_lines_;
  FieldLocations& locations_;
  Diagnostics& diagnostics_;
};

template <typename Integer>
std::optional<Integer> Reader::ReadInteger(const YAML::Node& value, const std::string& path) {
  const std::string text = value.IsScalar() ? value.Scalar() : "";
  const bool digits = !text.empty() &&
                      text.find_first_not_of("0123456789", text[0] == '-' || text[0] == '+') == std::string::npos &&
                      text.back() >= '0' && text.back() <= '9';
  // The proto3 JSON mapping writes 64-bit numbers as text; elsewhere quotes say "this is text".
  if (!digits || (value.Tag() == "!" && sizeof(Integer) < 8)) {
    Fail(value, path, "a whole number");
    return std::nullopt;
  }
  Integer number;
  if (!absl::SimpleAtoi(text, &number)) {
    Fail(value, path,
         absl::StrCat("a whole number from ", std::numeric_limits<Integer>::min(), " to ", std::numeric_limits<Integer>::max()));
    return std::nullopt;
  }
  return number;
}

std::optional<double> Reader::ReadDouble(const YAML::Node& value, const std::string& path) {
  double number;
  const bool plain = value.IsScalar() && value.Tag() != "!" && !value.Scalar().empty() &&
                     value.Scalar().find_first_not_of("0123456789+-.eE") == std::string::npos;
  if (!plain || !absl::SimpleAtod(value.Scalar(), &number) || number > std::numeric_limits<double>::max() ||
      number < std::numeric_limits<double>::lowest()) {
    Fail(value, path, "a number");
    return std::nullopt;
  }
  return number;
}

void Reader::ReadScalar(const YAML::Node& value, const std::string& path, const FieldDescriptor& field, Message* message) {
  const Reflection& reflection = *message->GetReflection();
  const bool repeated = field.is_repeated();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      if (const auto number = ReadInteger<int32_t>(value, path)) {
        repeated ? reflection.AddInt32(message, &field, *number) : reflection.SetInt32(message, &field, *number);
      }
      return;
    case FieldDescriptor::CPPTYPE_INT64:
      if (const auto number = ReadInteger<int64_t>(value, path)) reflection.SetInt64(message, &field, *number);
      return;
    case FieldDescriptor::CPPTYPE_UINT64:
      if (const auto number = ReadInteger<uint64_t>(value, path)) reflection.SetUInt64(message, &field, *number);
      return;
    case FieldDescriptor::CPPTYPE_DOUBLE:
      if (const auto number = ReadDouble(value, path)) reflection.SetDouble(message, &field, *number);
      return;
    case FieldDescriptor::CPPTYPE_STRING:
      // Any scalar, by its text: `command: [train, --epochs, 3]` and `env: {DEBUG: 1}` mean what they say.
      if (!value.IsScalar()) return Fail(value, path, "text");
      if (value.Scalar().find('\0') != std::string::npos) {
        diagnostics_.Add(PlaceOf(value), absl::StrCat(path, ": text with a NUL byte"));
        return;
      }
      repeated ? reflection.AddString(message, &field, value.Scalar()) : reflection.SetString(message, &field, value.Scalar());
      return;
    default:
      diagnostics_.Add(PlaceOf(value), absl::StrCat(path, ": fields of type ", field.cpp_type_name(), " are not read from files"));
  }
}

void Reader::ReadMessageField(const YAML::Node& value, const std::string& path, const FieldDescriptor& field, Message* message) {
  Message* child = message->GetReflection()->MutableMessage(message, &field);
  if (field.message_type() == google::protobuf::Duration::descriptor()) {
    absl::Duration duration;
    const bool parsed = value.IsScalar() && absl::ParseDuration(value.Scalar(), &duration);
    if (!parsed || duration < absl::ZeroDuration() || duration > absl::Hours(24 * 3650)) {
      return Fail(value, path, "a duration with a unit such as 500ms, 10s, 2m or 1h30m");
    }
    auto* out = static_cast<google::protobuf::Duration*>(child);
    out->set_seconds(absl::ToInt64Seconds(duration));
    out->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(duration - absl::Seconds(out->seconds()))));
    return;
  }
  if (field.message_type() == v1::ElasticSize::descriptor() && value.IsScalar()) {
    if (const auto number = ReadInteger<int32_t>(value, path)) {
      auto* size = static_cast<v1::ElasticSize*>(child);
      size->set_min(*number);
      size->set_max(*number);
      locations_[path + ".min"] = locations_[path + ".max"] = PlaceOf(value);
    }
    return;
  }
  ReadFields(value, path, child);
}

// Of a map of names to text: the one that is there, or a new one.
Message* EntryOf(const std::string& key, const FieldDescriptor& field, Message* message) {
  const google::protobuf::Reflection& reflection = *message->GetReflection();
  const FieldDescriptor* const key_field = field.message_type()->map_key();
  for (int i = 0; i < reflection.FieldSize(*message, &field); ++i) {
    Message* const entry = reflection.MutableRepeatedMessage(message, &field, i);
    if (entry->GetReflection()->GetString(*entry, key_field) == key) return entry;
  }
  Message* const entry = reflection.AddMessage(message, &field);
  entry->GetReflection()->SetString(entry, key_field, key);
  return entry;
}

void Reader::ReadMap(const YAML::Node& value, const std::string& path, const FieldDescriptor& field, Message* message) {
  if (!value.IsMap()) return Fail(value, path, "a map of names to text");
  const Descriptor& entry_type = *field.message_type();
  message->GetReflection()->ClearField(message, &field);
  std::vector<std::string> seen;
  for (const auto& pair : value) {
    if (!pair.first.IsScalar()) {
      Fail(pair.first, path, "a name");
      continue;
    }
    const std::string name = pair.first.Scalar();
    const std::string entry_path = absl::StrCat(path, ".", name);
    if (std::find(seen.begin(), seen.end(), name) != seen.end()) {
      diagnostics_.Add(PlaceOf(pair.first),
                       absl::StrCat(entry_path, ": written twice; the other is at ", locations_[entry_path].ToString()));
      continue;
    }
    seen.push_back(name);
    locations_[entry_path] = PlaceOf(pair.first);
    Message* entry = message->GetReflection()->AddMessage(message, &field);
    entry->GetReflection()->SetString(entry, entry_type.map_key(), name);
    ReadScalar(pair.second, entry_path, *entry_type.map_value(), entry);
  }
}

void Reader::ReadField(const YAML::Node& value, const Location& place, const std::string& path, const FieldDescriptor& field,
                       Message* message) {
  locations_[path] = place;
  if (value.IsNull()) {  // its own place is where the parser noticed, often the next line
    const bool map = field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !field.is_repeated();
    diagnostics_.Add(place, absl::StrCat(path, ": expected a value", map ? " ({} for all defaults)" : "", ", found nothing"));
    return;
  }
  if (field.is_map()) return ReadMap(value, path, field, message);
  if (field.is_repeated()) {
    if (!value.IsSequence()) return Fail(value, path, "a list");
    message->GetReflection()->ClearField(message, &field);
    int index = 0;
    for (const YAML::Node& element : value) {
      const std::string element_path = absl::StrCat(path, "[", index++, "]");
      locations_[element_path] = PlaceOf(element);
      ReadScalar(element, element_path, field, message);
    }
    return;
  }
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) return ReadMessageField(value, path, field, message);
  ReadScalar(value, path, field, message);
}

void Reader::ReadFields(const YAML::Node& node, const std::string& path, Message* message) {
  const Descriptor& descriptor = *message->GetDescriptor();
  if (!node.IsMap()) {
    return Fail(node, path.empty() ? "the file" : path,
                absl::StrCat("a map with the fields ", absl::StrJoin(FieldNames(descriptor), ", ")));
  }
  std::map<std::string, Location> seen;
  std::map<std::string, std::string> chosen;  // member of each oneof
  for (const auto& pair : node) {
    const Location place = PlaceOf(pair.first);
    if (!pair.first.IsScalar()) {
      Fail(pair.first, path.empty() ? "the file" : path, "a field name");
      continue;
    }
    const std::string name = pair.first.Scalar();
    const std::string prefix = path.empty() ? "" : path + ".";
    const FieldDescriptor* field = descriptor.FindFieldByName(name);
    if (field == nullptr) field = descriptor.FindFieldByCamelcaseName(name);  // the JSON mapping's spelling
    if (field == nullptr) {
      diagnostics_.Add(place, absl::StrCat(path.empty() ? "" : path + ": ", UnknownField(name, descriptor)));
      continue;
    }
    const std::string field_path = prefix + field->name();
    if (const auto [it, fresh] = seen.emplace(field->name(), place); !fresh) {
      diagnostics_.Add(place, absl::StrCat(field_path, ": written twice; the other is at ", it->second.ToString()));
      continue;
    }
    if (const auto* oneof = field->containing_oneof()) {
      if (const auto [it, fresh] = chosen.emplace(oneof->name(), name); !fresh) {
        diagnostics_.Add(place,
                         absl::StrCat(field_path, ": only one of them can be chosen, and \"", it->second, "\" is there already"));
        continue;
      }
    }
    ReadField(pair.second, place, field_path, *field, message);
  }
}

// Runs `read` and turns yaml-cpp's exceptions into findings.
template <typename Read>
void CatchingYaml(const std::string& source, bool has_lines, Diagnostics* diagnostics, const Read& read) {
  try {
    read();
  } catch (const YAML::Exception& error) {
    const bool placed = has_lines && !error.mark.is_null();
    diagnostics->Add(
        Location{source, placed ? error.mark.line + 1 : 0, placed ? error.mark.column + 1 : 0},
        absl::StrCat("not valid YAML or JSON", placed ? absl::StrCat(" (line ", error.mark.line + 1, ")") : "", ": ", error.msg));
  }
}

// The locations of a oneof's other members and of everything below a field that is replaced mean nothing any more.
void ForgetBelow(const std::string& path, FieldLocations* locations) {
  std::erase_if(*locations, [&](const auto& entry) {
    return absl::StartsWith(entry.first, path + ".") || absl::StartsWith(entry.first, path + "[") || entry.first == path;
  });
}

}  // namespace

void ReadMessage(const std::string& text, const std::string& source, Message* message, FieldLocations* locations,
                 Diagnostics* diagnostics) {
  if (text.size() > kMaxBytes) {
    diagnostics->Add({source, 0, 0},
                     absl::StrCat("larger than a message with a job may be: at most ", kMaxBytes, " bytes, found ", text.size()));
    return;
  }
  CatchingYaml(source, true, diagnostics, [&] {
    const std::vector<YAML::Node> documents = YAML::LoadAll(text);
    if (documents.empty() || (documents.size() == 1 && documents[0].IsNull())) {
      diagnostics->Add({source, 0, 0}, "the file is empty; examples/ has job files to start from");
      return;
    }
    if (documents.size() > 1) {
      diagnostics->Add({source, documents[1].Mark().line + 1, documents[1].Mark().column + 1},
                       absl::StrCat("one job per file, found ", documents.size(), " documents"));
      return;
    }
    Reader(source, true, locations, diagnostics).ReadFields(documents[0], "", message);
  });
}

void ReadOverride(std::string_view assignment, const std::string& source, Message* message, FieldLocations* locations,
                  Diagnostics* diagnostics) {
  const Location place{source, 0, 0};
  const size_t equals = assignment.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    diagnostics->Add(place, "expected FIELD=VALUE, such as train.steps=100");
    return;
  }
  const std::string path(assignment.substr(0, equals));
  const std::string text(assignment.substr(equals + 1));
  CatchingYaml(source, false, diagnostics, [&] {
    const YAML::Node value = YAML::Load(text);
    std::string walked;
    const std::vector<std::string> names = absl::StrSplit(path, '.');
    for (size_t i = 0; i < names.size(); ++i) {
      const FieldDescriptor* field = message->GetDescriptor()->FindFieldByName(names[i]);
      if (field == nullptr) {
        diagnostics->Add(place,
                         absl::StrCat(walked.empty() ? "" : walked + ": ", UnknownField(names[i], *message->GetDescriptor())));
        return;
      }
      absl::StrAppend(&walked, walked.empty() ? "" : ".", names[i]);
      if (const auto* oneof = field->containing_oneof()) {
        const std::string parent = walked.substr(0, walked.size() - names[i].size());
        for (int m = 0; m < oneof->field_count(); ++m) {
          if (oneof->field(m) != field) ForgetBelow(parent + oneof->field(m)->name(), locations);
        }
      }
      const bool last = i + 1 == names.size();
      if (last) {
        ForgetBelow(walked, locations);
        Reader reader(source, false, locations, diagnostics);
        message->GetReflection()->ClearField(message, field);
        reader.ReadField(value, place, walked, *field, message);
        return;
      }
      if (field->is_map()) {  // env.NAME=VALUE, restart.remedies.FAULT=WHAT: the rest is the key
        const std::string key = absl::StrJoin(names.begin() + static_cast<std::ptrdiff_t>(i) + 1, names.end(), ".");
        if (!value.IsScalar()) {
          diagnostics->Add(place, absl::StrCat(path, ": expected text, found ", Describe(value)));
          return;
        }
        Message* const entry = EntryOf(key, *field, message);
        entry->GetReflection()->SetString(entry, field->message_type()->map_value(), value.Scalar());
        (*locations)[absl::StrCat(walked, ".", key)] = place;
        return;
      }
      if (field->is_repeated() || field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE ||
          field->message_type() == google::protobuf::Duration::descriptor()) {
        diagnostics->Add(place, absl::StrCat(walked, " has no fields below it, found \"", path, "\""));
        return;
      }
      locations->emplace(walked, place);
      message = message->GetReflection()->MutableMessage(message, field);
    }
  });
}

}  // namespace ringmaster::cli
