// The protocol keeps its promises in every order of messages, and the search would see if it did not.
#include "tests/model/rendezvous_model.h"

#include "gtest/gtest.h"

namespace ringmaster::model {
namespace {

TEST(RendezvousModel, EveryOrderKeepsEveryPromise) {
  const Found found = Search({}, Bug::kNone);
  EXPECT_EQ(found.broken, "");
  EXPECT_GT(found.states, 1000) << "so small a space proves nothing";
  RecordProperty("states", static_cast<int>(found.states));
}

TEST(RendezvousModel, TwoKillsInEveryOrder) {
  EXPECT_EQ(Search({.ranks = 2, .slots = 3, .kills = 2, .crashes = 0}, Bug::kNone).broken, "");
}

TEST(RendezvousModel, CommitOfAnOldEpochIsFound) {
  EXPECT_EQ(Search({}, Bug::kOldCommitAccepted).broken, "a commit by another epoch than the current one");
}

TEST(RendezvousModel, JoinOfAnOldEpochIsFound) {
  EXPECT_EQ(Search({}, Bug::kOldJoinAccepted).broken, "a join of a rank that does not count, or too late");
}

TEST(RendezvousModel, StartBesideAnOldProcessIsFound) {
  EXPECT_EQ(Search({.ranks = 3, .slots = 3, .kills = 1, .crashes = 0}, Bug::kStartsBesideOld).broken,
            "two processes have one slot");
}

TEST(RendezvousModel, SecondStartByALateAssignmentIsFound) {
  EXPECT_EQ(Search({}, Bug::kLateAssignmentStarts).broken, "a process is started twice");
}

TEST(RendezvousModel, AssignmentLostInARestartIsFound) {
  EXPECT_EQ(Search({}, Bug::kAssignmentsNotRepeated).broken, "the job can never finish");
}

TEST(RendezvousModel, ForgottenWaiterIsFound) { EXPECT_EQ(Search({}, Bug::kWaiterForgotten).broken, "the job can never finish"); }

}  // namespace
}  // namespace ringmaster::model
