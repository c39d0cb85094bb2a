// Reads YAML (and so JSON) into a proto message by reflection: the proto is the schema, and nothing that it does not know passes.
// Two shorthands of docs/formats.md: `data: 2` for {min: 2, max: 2}, and durations as text ("1s", "500ms", "2m").
#ifndef RINGMASTER_CLI_SPEC_MESSAGE_READER_H_
#define RINGMASTER_CLI_SPEC_MESSAGE_READER_H_

#include <string>
#include <string_view>

#include "cli/spec/diagnostics.h"
#include "google/protobuf/message.h"

namespace ringmaster::cli {

// Reads the one document in `text` (of file `source`) into `message`; what is wrong goes to `diagnostics`, the place of each
// field that was read to `locations`.
void ReadMessage(const std::string& text, const std::string& source, google::protobuf::Message* message, FieldLocations* locations,
                 Diagnostics* diagnostics);

// Applies "path.to.field=VALUE" (VALUE is YAML, so lists and maps work) on top of what was read before; the latest wins, also
// between members of a oneof. `source` is how the user wrote it, for messages.
void ReadOverride(std::string_view assignment, const std::string& source, google::protobuf::Message* message,
                  FieldLocations* locations, Diagnostics* diagnostics);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_SPEC_MESSAGE_READER_H_
