#include "worker/core/worker_machine.h"

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

const absl::Time kStart = absl::FromUnixSeconds(1000);

std::string Name(const RankKey& key) { return absl::StrCat(key.job.value(), "/", key.epoch.value(), "/", key.rank.value()); }

// One word per effect and what it is about: "Start j/1:0,1".
struct Describe {
  std::string operator()(const worker_effect::Accepted& e) {
    return absl::StrCat("Accepted ", e.job.value(), "/", e.epoch.value());
  }
  std::string operator()(const worker_effect::StartRanks& e) {
    return absl::StrCat(
        "Start ", e.job.value(), "/", e.epoch.value(), ":",
        absl::StrJoin(e.ranks, ",", [](std::string* out, const RankAssignment& r) { absl::StrAppend(out, r.rank.value()); }));
  }
  std::string operator()(const worker_effect::Keep& e) { return absl::StrCat("Keep ", Name(e.from), " as ", Name(e.to)); }
  std::string operator()(const worker_effect::Terminate& e) { return "Terminate " + Name(e.key); }
  std::string operator()(const worker_effect::Kill& e) { return "Kill " + Name(e.key); }
  std::string operator()(const worker_effect::Destroy& e) { return "Destroy " + Name(e.key); }
  std::string operator()(const worker_effect::SendStarted& e) { return "SendStarted " + Name(e.rank.key); }
  std::string operator()(const worker_effect::SendExit& e) { return "SendExit " + Name(e.rank.key); }
  std::string operator()(const worker_effect::RecordNeverStarted& e) {
    return absl::StrCat("NeverStarted ", Name(e.rank.key), " ", e.reason);
  }
  std::string operator()(const worker_effect::ForgetExit& e) { return "ForgetExit " + Name(e.key); }
  std::string operator()(const worker_effect::EpochGone& e) {
    return absl::StrCat("EpochGone ", e.job.value(), "/", e.epoch.value());
  }
  std::string operator()(const worker_effect::Refused& e) { return "Refused " + e.reason; }
  std::string operator()(const worker_effect::Drained&) { return "Drained"; }
};

std::vector<std::string> Words(const std::vector<WorkerEffect>& effects) {
  std::vector<std::string> words;
  for (const WorkerEffect& effect : effects) words.push_back(std::visit(Describe(), effect));
  return words;
}

class WorkerMachineTest : public ::testing::Test {
 protected:
  std::vector<std::string> Step(WorkerEvent event) { return Words(machine_.Step(event, now_)); }
  std::vector<std::string> Pass(absl::Duration time) {
    now_ += time;
    return Words(machine_.OnDeadline(now_));
  }
  static RankKey Key(int epoch, int rank, const std::string& job = "j") { return {JobId(job), Epoch(epoch), Rank(rank)}; }
  static Incarnation IncarnationOf(int epoch, int rank) { return Incarnation(static_cast<uint64_t>(epoch * 10 + rank)); }
  static RunningRank Running(int epoch, int rank) { return {Key(epoch, rank), IncarnationOf(epoch, rank)}; }

  std::vector<std::string> Assign(int epoch, int ranks, const std::string& job = "j") {
    Assignment assignment{JobId(job), Epoch(epoch), absl::Seconds(10), {}};
    for (int rank = 0; rank < ranks; ++rank) assignment.ranks.push_back({Rank(rank), IncarnationOf(epoch, rank)});
    return Step(worker_event::Assigned{assignment});
  }
  // These ranks keep their process of epoch 1.
  std::vector<std::string> AssignKeeping(int epoch, int ranks, const std::set<int>& kept) {
    Assignment assignment{JobId("j"), Epoch(epoch), absl::Seconds(10), {}};
    for (int rank = 0; rank < ranks; ++rank) {
      const bool keeps = kept.contains(rank);
      assignment.ranks.push_back({Rank(rank), IncarnationOf(keeps ? 1 : epoch, rank), keeps});
    }
    return Step(worker_event::Assigned{assignment});
  }
  std::vector<std::string> Stop(int epoch, absl::Duration grace) {
    return Step(worker_event::StopRequested{JobId("j"), Epoch(epoch), grace});
  }
  std::vector<std::string> Started(int epoch, int rank) { return Step(worker_event::ProcessStarted{Key(epoch, rank)}); }
  std::vector<std::string> Gone(int epoch, int rank) { return Step(worker_event::ProcessGone{Key(epoch, rank)}); }
  std::vector<std::string> Seen(int epoch, int rank) { return Step(worker_event::ExitAcknowledged{Running(epoch, rank)}); }
  std::vector<std::string> Welcome(std::vector<RunningRank> stale = {}) { return Step(worker_event::Welcomed{std::move(stale)}); }

  // Attached, epoch 1 running with this many ranks.
  void RunEpochOne(int ranks) {
    Welcome();
    Assign(1, ranks);
    for (int rank = 0; rank < ranks; ++rank) Started(1, rank);
  }

  WorkerMachine machine_;
  absl::Time now_ = kStart;
};

TEST_F(WorkerMachineTest, AStopOfOneProcessLeavesTheOthersAndTheEpochAlone) {
  RunEpochOne(3);
  EXPECT_THAT(Step(worker_event::StopRequested{JobId("j"), Epoch(1), absl::ZeroDuration(), IncarnationOf(1, 1)}),
              ElementsAre("Terminate j/1/1"));
  EXPECT_THAT(Pass(absl::ZeroDuration()), ElementsAre("Kill j/1/1"));
  EXPECT_THAT(Gone(1, 1), ElementsAre("SendExit j/1/1"));
  EXPECT_EQ(machine_.Running().size(), 2u);
  // No fence: the epoch goes on to be one that may be told again.
  EXPECT_THAT(Assign(1, 3), Not(Contains(HasSubstr("Refused"))));
  EXPECT_THAT(Step(worker_event::StopRequested{JobId("other"), Epoch(9), absl::ZeroDuration(), IncarnationOf(1, 0)}), IsEmpty());
}

TEST_F(WorkerMachineTest, AWorkerThatWasReplacedStopsWhatItHas) {
  RunEpochOne(2);
  Step(worker_event::Disconnected{});
  EXPECT_THAT(Step(worker_event::Replaced{}), ElementsAre("Terminate j/1/0", "Terminate j/1/1"));
  EXPECT_THAT(Step(worker_event::Replaced{}), IsEmpty());
  EXPECT_THAT(Pass(absl::Seconds(10)), ElementsAre("Kill j/1/0", "Kill j/1/1"));
}

TEST_F(WorkerMachineTest, LifeOfAnEpoch_FromAssignToAcknowledgedExit) {
  Welcome();

  EXPECT_THAT(Assign(1, 2), ElementsAre("Accepted j/1", "Start j/1:0,1"));
  EXPECT_THAT(Started(1, 0), ElementsAre("SendStarted j/1/0"));
  EXPECT_THAT(Started(1, 1), ElementsAre("SendStarted j/1/1"));
  EXPECT_THAT(Gone(1, 1), ElementsAre("SendExit j/1/1"));
  EXPECT_THAT(Gone(1, 0), ElementsAre("SendExit j/1/0", "EpochGone j/1"));
  EXPECT_THAT(Seen(1, 0), ElementsAre("ForgetExit j/1/0"));
  EXPECT_THAT(Seen(1, 1), ElementsAre("ForgetExit j/1/1"));
  EXPECT_THAT(machine_.Running(), IsEmpty());
}

TEST_F(WorkerMachineTest, RepeatedAssign_StartsNothingAndRepeatsItsReports) {
  RunEpochOne(2);
  Gone(1, 1);

  EXPECT_THAT(Assign(1, 2), ElementsAre("SendStarted j/1/0", "SendExit j/1/1"));
}

TEST_F(WorkerMachineTest, RepeatedAssignAfterTheEnd_StartsNothing) {
  RunEpochOne(1);
  Gone(1, 0);
  Seen(1, 0);

  EXPECT_THAT(Assign(1, 1), IsEmpty());
}

TEST_F(WorkerMachineTest, OlderEpoch_IsRefused) {
  Welcome();
  Assign(3, 1);

  EXPECT_THAT(Assign(2, 1), ElementsAre("Refused job j epoch 2: not started, epoch 3 of it is known here"));
}

TEST_F(WorkerMachineTest, AssignOfAStoppedEpoch_IsRefused) {
  Welcome();
  Stop(4, absl::Seconds(1));

  EXPECT_THAT(Assign(4, 1), ElementsAre(HasSubstr("Refused job j epoch 4")));
  EXPECT_THAT(Assign(5, 1), ElementsAre("Accepted j/5", "Start j/5:0"));
}

TEST_F(WorkerMachineTest, NewerEpoch_StopsTheOldProcessesFirstAndStartsWhenTheLastIsGone) {
  RunEpochOne(2);

  EXPECT_THAT(Assign(2, 2), ElementsAre("Terminate j/1/0", "Terminate j/1/1", "Accepted j/2"));
  EXPECT_THAT(Gone(1, 0), ElementsAre("SendExit j/1/0"));
  EXPECT_THAT(Gone(1, 1), ElementsAre("SendExit j/1/1", "EpochGone j/1", "Start j/2:0,1"));
}

TEST_F(WorkerMachineTest, EpochThatWaited_IsReportedAsNeverStartedWhenANewerOneComes) {
  RunEpochOne(1);
  Assign(2, 1);

  EXPECT_THAT(Assign(3, 1),
              ElementsAre("NeverStarted j/2/0 not started: epoch 3 has begun", "SendExit j/2/0", "EpochGone j/2", "Accepted j/3"));
  EXPECT_THAT(Gone(1, 0), ElementsAre("SendExit j/1/0", "EpochGone j/1", "Start j/3:0"));
}

TEST_F(WorkerMachineTest, StopOfAWaitingEpoch_NeverStartsIt) {
  RunEpochOne(1);
  Assign(2, 1);

  EXPECT_THAT(Stop(2, absl::Seconds(1)),
              ElementsAre("NeverStarted j/2/0 not started: the job was stopped", "SendExit j/2/0", "EpochGone j/2"));
  EXPECT_THAT(Gone(1, 0), ElementsAre("SendExit j/1/0", "EpochGone j/1"));
}

TEST_F(WorkerMachineTest, OtherJobs_AreNotTouchedByANewEpoch) {
  RunEpochOne(1);
  Assign(1, 1, "other");

  EXPECT_THAT(Assign(2, 1), ElementsAre("Terminate j/1/0", "Accepted j/2"));
}

TEST_F(WorkerMachineTest, Stop_GoesFromTermOverGraceToKillToDestroy) {
  RunEpochOne(2);

  EXPECT_THAT(Stop(1, absl::Seconds(3)), ElementsAre("Terminate j/1/0", "Terminate j/1/1"));
  EXPECT_EQ(machine_.NextDeadline(), kStart + absl::Seconds(3));
  EXPECT_THAT(Gone(1, 1), ElementsAre("SendExit j/1/1"));
  EXPECT_THAT(Pass(absl::Seconds(3) - absl::Nanoseconds(1)), IsEmpty());
  EXPECT_THAT(Pass(absl::Nanoseconds(1)), ElementsAre("Kill j/1/0"));
  EXPECT_EQ(machine_.NextDeadline(), kStart + absl::Seconds(3) + WorkerMachine::kKillPatience);
  EXPECT_THAT(Pass(WorkerMachine::kKillPatience), ElementsAre("Destroy j/1/0"));
  EXPECT_EQ(machine_.NextDeadline(), absl::InfiniteFuture());
  EXPECT_THAT(Gone(1, 0), ElementsAre("SendExit j/1/0", "EpochGone j/1"));
}

TEST_F(WorkerMachineTest, SecondStop_ShortensTheGraceButNeverLengthensIt) {
  RunEpochOne(1);
  Stop(1, absl::Seconds(10));

  EXPECT_THAT(Stop(1, absl::Seconds(60)), IsEmpty());
  EXPECT_EQ(machine_.NextDeadline(), kStart + absl::Seconds(10));
  EXPECT_THAT(Stop(1, absl::Seconds(1)), IsEmpty());
  EXPECT_EQ(machine_.NextDeadline(), kStart + absl::Seconds(1));
}

TEST_F(WorkerMachineTest, StopBeforeTheProcessHasAPid_StillEndsIt) {
  Welcome();
  Assign(1, 1);

  EXPECT_THAT(Stop(1, absl::Seconds(1)), ElementsAre("Terminate j/1/0"));
  EXPECT_THAT(Started(1, 0), ElementsAre("SendStarted j/1/0"));
  EXPECT_THAT(Pass(absl::Seconds(1)), ElementsAre("Kill j/1/0"));
}

TEST_F(WorkerMachineTest, StopOfAnOlderEpoch_LeavesTheCurrentOneAlone) {
  Welcome();
  Assign(2, 1);
  Started(2, 0);

  EXPECT_THAT(Stop(1, absl::Seconds(1)), IsEmpty());
  EXPECT_EQ(machine_.Running().size(), 1u);
}

TEST_F(WorkerMachineTest, Exit_IsSentAgainAfterEachReconnectionUntilItIsSeen) {
  RunEpochOne(1);
  Step(worker_event::Disconnected{});

  EXPECT_THAT(Gone(1, 0), ElementsAre("EpochGone j/1"));
  EXPECT_THAT(Welcome(), ElementsAre("SendExit j/1/0"));
  Step(worker_event::Disconnected{});
  EXPECT_THAT(Welcome(), ElementsAre("SendExit j/1/0"));
  EXPECT_THAT(Seen(1, 0), ElementsAre("ForgetExit j/1/0"));
  Step(worker_event::Disconnected{});
  EXPECT_THAT(Welcome(), IsEmpty());
}

TEST_F(WorkerMachineTest, AcknowledgementOfAnotherIncarnation_IsIgnored) {
  RunEpochOne(1);
  Gone(1, 0);

  EXPECT_THAT(Step(worker_event::ExitAcknowledged{{Key(1, 0), Incarnation(999)}}), IsEmpty());
  EXPECT_THAT(Seen(1, 0), ElementsAre("ForgetExit j/1/0"));
}

TEST_F(WorkerMachineTest, AcknowledgementOfARunningRank_IsIgnored) {
  RunEpochOne(1);

  EXPECT_THAT(Seen(1, 0), IsEmpty());
  EXPECT_EQ(machine_.Running().size(), 1u);
}

TEST_F(WorkerMachineTest, RanksKeepRunningWithoutTheCoordinator_AndStaleOnesStopWhenItIsBack) {
  RunEpochOne(2);

  EXPECT_THAT(Step(worker_event::Disconnected{}), IsEmpty());
  EXPECT_EQ(machine_.Running().size(), 2u);
  EXPECT_THAT(Welcome({Running(1, 1)}), ElementsAre("Terminate j/1/1"));
  EXPECT_EQ(machine_.NextDeadline(), kStart + absl::Seconds(10));
}

TEST_F(WorkerMachineTest, StaleRankOfAnotherIncarnation_IsNotStopped) {
  RunEpochOne(1);

  EXPECT_THAT(Welcome({{Key(1, 0), Incarnation(999)}}), IsEmpty());
}

TEST_F(WorkerMachineTest, Shutdown_StopsEverythingRefusesNewWorkAndTellsWhenNothingIsLeft) {
  RunEpochOne(1);
  Assign(2, 1);

  EXPECT_THAT(Step(worker_event::ShutdownRequested{}),
              ElementsAre("NeverStarted j/2/0 not started: the worker is shutting down", "SendExit j/2/0", "EpochGone j/2"));
  EXPECT_THAT(Assign(3, 1), ElementsAre(HasSubstr("Refused")));
  EXPECT_THAT(Gone(1, 0), ElementsAre("SendExit j/1/0", "EpochGone j/1", "Drained"));
}

TEST_F(WorkerMachineTest, KeptProcess_MovesToTheNewEpochAndTheNewcomerStartsBesideIt) {
  RunEpochOne(2);
  Gone(1, 1);
  Seen(1, 1);

  EXPECT_THAT(AssignKeeping(2, 2, {0}), ElementsAre("Keep j/1/0 as j/2/0", "EpochGone j/1", "Accepted j/2", "Start j/2:1"));
  EXPECT_THAT(Started(2, 1), ElementsAre("SendStarted j/2/1"));
  ASSERT_EQ(machine_.Running().size(), 2u);
  EXPECT_EQ(machine_.Running()[0].incarnation, IncarnationOf(1, 0));
  EXPECT_THAT(Gone(2, 0), ElementsAre("SendExit j/2/0"));
}

TEST_F(WorkerMachineTest, ProcessBesideAKeptOne_IsKilledAtOnceAndItsPlaceIsFilledWhenItIsGone) {
  RunEpochOne(2);

  EXPECT_THAT(AssignKeeping(2, 2, {0}), ElementsAre("Keep j/1/0 as j/2/0", "Terminate j/1/1", "Accepted j/2"));
  EXPECT_THAT(Pass(absl::ZeroDuration()), ElementsAre("Kill j/1/1"));
  EXPECT_THAT(Gone(1, 1), ElementsAre("SendExit j/1/1", "EpochGone j/1", "Start j/2:1"));
}

TEST_F(WorkerMachineTest, ProcessThatWasToBeKeptButHasEnded_IsReportedUnderItsOldEpochAndNotStartedAgain) {
  RunEpochOne(2);
  Gone(1, 0);

  EXPECT_THAT(AssignKeeping(2, 2, {0, 1}), ElementsAre("Keep j/1/1 as j/2/1", "EpochGone j/1", "Accepted j/2"));
  EXPECT_THAT(Welcome(), ElementsAre("SendExit j/1/0"));
}

TEST_F(WorkerMachineTest, ShutdownWithoutRanks_IsDrainedAtOnceAndOnlyOnce) {
  Welcome();

  EXPECT_THAT(Step(worker_event::ShutdownRequested{}), ElementsAre("Drained"));
  EXPECT_THAT(Step(worker_event::ShutdownRequested{}), IsEmpty());
}

TEST_F(WorkerMachineTest, EventsOfUnknownProcesses_ChangeNothing) {
  Welcome();

  EXPECT_THAT(Gone(7, 0), IsEmpty());
  EXPECT_THAT(Started(7, 0), IsEmpty());
}

}  // namespace
}  // namespace ringmaster
