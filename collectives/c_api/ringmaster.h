/* Ringmaster's collectives for programs in C and whatever calls C (C99; libringmaster_collectives.so).
 *
 * Every function that can fail returns a status code: RM_OK, or an RM_ code after which rm_last_error() says what happened, in
 * words, to the calling thread. What operations do, and which codes end a communicator for good, stands in
 * collectives/communicator.h.
 *
 * Threads: one thread at a time uses a communicator, but for rm_abort, rm_work_done and rm_work_wait, which any thread may call.
 * Timeouts are in milliseconds and count for one operation. No function prints, exits, installs a signal handler or reads the
 * environment.
 *
 * Versions: functions and values are only ever added within a major version; structs begin with their size, so that old programs
 * run with a newer library. */
#ifndef RINGMASTER_COLLECTIVES_C_API_RINGMASTER_H_
#define RINGMASTER_COLLECTIVES_C_API_RINGMASTER_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RM_VERSION_MAJOR 1
#define RM_VERSION_MINOR 1
#define RM_VERSION (RM_VERSION_MAJOR * 1000 + RM_VERSION_MINOR)

#if defined(__GNUC__)
#define RM_API __attribute__((visibility("default")))
#else
#define RM_API
#endif

/* RM_VERSION of the library that runs. */
RM_API int rm_version(void);

enum {
  RM_OK = 0,
  RM_CANCELLED = 1,          /* the communicator was destroyed before an issued operation began */
  RM_INVALID_ARGUMENT = 3,   /* fix the call; or the ranks' calls differ */
  RM_DEADLINE_EXCEEDED = 4,  /* the message names the ranks waited for */
  RM_ALREADY_EXISTS = 6,     /* rendezvous: the key has another value */
  RM_RESOURCE_EXHAUSTED = 8, /* no memory */
  RM_FAILED_PRECONDITION = 9,
  RM_ABORTED = 10, /* rm_abort was called */
  RM_UNIMPLEMENTED = 12,
  RM_INTERNAL = 13,
  RM_UNAVAILABLE = 14 /* a peer is gone; the message names it */
};

/* Of the calling thread's last call that failed; "" before the first. Stays until the thread's next failure. */
RM_API const char* rm_last_error(void);
/* "UNAVAILABLE" */
RM_API const char* rm_status_name(int status);

enum { RM_F32 = 0, RM_F64 = 1, RM_I32 = 2, RM_I64 = 3, RM_U8 = 4, RM_I8 = 5, RM_F16 = 6, RM_BF16 = 7 };
enum { RM_SUM = 0, RM_MIN = 1, RM_MAX = 2, RM_PRODUCT = 3, RM_AVERAGE = 4 };
enum {
  RM_ALL_REDUCE = 0,
  RM_REDUCE_SCATTER = 1,
  RM_ALL_GATHER = 2,
  RM_BROADCAST = 3,
  RM_BARRIER = 4,
  RM_REDUCE = 5,
  RM_GATHER = 6,
  RM_SCATTER = 7,
  RM_ALL_TO_ALL = 8,
  RM_REDUCE_SCATTER_V = 9,
  RM_ALL_GATHER_V = 10,
  RM_ALL_TO_ALL_V = 11,
  RM_SEND = 12,
  RM_RECEIVE = 13
};
enum { RM_TRANSPORT_AUTO = 0, RM_TRANSPORT_SHM = 1, RM_TRANSPORT_TCP = 2 };
/* Of additions: by rank, the same bits in all runs; or as contributions arrive (ReductionOrder in host_communicator.h). */
enum { RM_ORDER_CANONICAL = 0, RM_ORDER_FASTEST = 1 };

typedef struct rm_communicator rm_communicator;
typedef struct rm_work rm_work;
typedef struct rm_buffer rm_buffer;

/* ---- Groups ---- */

/* How the ranks find each other when they do not share a directory. Both return a status code and may be called from the thread
 * that creates or splits. A value is at most 4096 bytes of any content. */
typedef int (*rm_publish)(void* context, const char* key, const void* value, size_t bytes);
/* Waits until someone has published `key`; *bytes is the capacity of `value` before and the length after. */
typedef int (*rm_await)(void* context, const char* key, int64_t timeout_ms, void* value, size_t* bytes);

typedef struct rm_options {
  size_t struct_bytes; /* rm_options_init sets it */
  int rank;
  int size;
  const char* directory; /* empty, made by the caller, the same for all ranks of one group on one host: ranks meet in it */
  rm_publish publish;    /* or these two, where directory is NULL */
  rm_await await;
  void* context;
  const char* group;          /* a name, the same on all ranks; default "world" */
  const char* host;           /* for messages; default "localhost" */
  const char* listen_address; /* numeric address of this host that peers reach; default "127.0.0.1" */
  int ranks_on_host;          /* default: size */
  int transport;              /* RM_TRANSPORT_ */
  int flight_record;          /* not 0: `ringmaster flight-record PID` shows the last operations; default 1 */
  int order;                  /* RM_ORDER_; since 1.1 (where 1.0 had padding, which rm_options_init made 0) */
} rm_options;

RM_API void rm_options_init(rm_options* options);

/* Collective. */
RM_API int rm_create(const rm_options* options, int64_t timeout_ms, rm_communicator** communicator);
/* Issued operations end first, by their timeouts at the latest; those that have not begun are cancelled. NULL is allowed. */
RM_API void rm_destroy(rm_communicator* communicator);
RM_API int rm_rank(const rm_communicator* communicator);
RM_API int rm_size(const rm_communicator* communicator);
/* Wakes a blocked operation here; peers learn of it. */
RM_API void rm_abort(rm_communicator* communicator, const char* reason);
/* Why the communicator's last failed operation failed; "" if none did. Valid until its next failure. */
RM_API const char* rm_status_message(const rm_communicator* communicator);
/* Collective: ranks of the same colour (not negative) form a group, by key, then rank; others get NULL. */
RM_API int rm_split(rm_communicator* communicator, int colour, int key, int64_t timeout_ms, rm_communicator** child);

/* Collective: memory that operations of this host's ranks use without copies. Release it before the communicator. */
RM_API int rm_register(rm_communicator* communicator, int64_t bytes, int64_t timeout_ms, rm_buffer** buffer);
RM_API void* rm_buffer_data(const rm_buffer* buffer);
RM_API int64_t rm_buffer_bytes(const rm_buffer* buffer);
RM_API void rm_buffer_release(rm_buffer* buffer);

/* ---- Operations as data ---- */

/* What an operation does not use is 0. */
typedef struct rm_call {
  size_t struct_bytes; /* sizeof(rm_call) */
  int operation;
  int type;
  int reduction;
  int root;      /* or peer */
  int64_t count; /* elements of one part */
  const void* send;
  void* receive;
  const int64_t* send_counts;    /* V operations: size entries */
  const int64_t* receive_counts; /* RM_ALL_TO_ALL_V: size entries */
} rm_call;

RM_API int rm_run(rm_communicator* communicator, const rm_call* call, int64_t timeout_ms);
/* Sends and receives at the same time, then the collectives one after the other. */
RM_API int rm_run_group(rm_communicator* communicator, const rm_call* calls, size_t number, int64_t timeout_ms);

/* From a thread of the communicator's own, in order of issue, while the caller goes on. `work` is to be released. */
RM_API int rm_issue(rm_communicator* communicator, const rm_call* call, int64_t timeout_ms, rm_work** work);
RM_API int rm_issue_group(rm_communicator* communicator, const rm_call* calls, size_t number, int64_t timeout_ms, rm_work** work);
RM_API int rm_work_done(const rm_work* work); /* 1 or 0 */
/* The operation's status. RM_DEADLINE_EXCEEDED while rm_work_done says 0: it still runs and keeps its buffers. */
RM_API int rm_work_wait(const rm_work* work, int64_t timeout_ms);
RM_API void rm_work_release(rm_work* work);

/* How a call would run; at most capacity - 1 characters and a zero. */
RM_API int rm_explain(const rm_communicator* communicator, const rm_call* call, char* text, size_t capacity);

/* ---- Operations as functions ---- */

RM_API int rm_all_reduce(rm_communicator* communicator, const void* send, void* receive, int64_t count, int type, int reduction,
                         int64_t timeout_ms);
RM_API int rm_reduce_scatter(rm_communicator* communicator, const void* send, void* receive, int64_t count, int type, int reduction,
                             int64_t timeout_ms);
RM_API int rm_reduce_scatter_v(rm_communicator* communicator, const void* send, void* receive, const int64_t* counts, int type,
                               int reduction, int64_t timeout_ms);
RM_API int rm_all_gather(rm_communicator* communicator, const void* send, void* receive, int64_t count, int type,
                         int64_t timeout_ms);
RM_API int rm_all_gather_v(rm_communicator* communicator, const void* send, void* receive, const int64_t* counts, int type,
                           int64_t timeout_ms);
RM_API int rm_broadcast(rm_communicator* communicator, void* buffer, int64_t count, int type, int root, int64_t timeout_ms);
RM_API int rm_reduce(rm_communicator* communicator, const void* send, void* receive, int64_t count, int type, int reduction,
                     int root, int64_t timeout_ms);
RM_API int rm_gather(rm_communicator* communicator, const void* send, void* receive, int64_t count, int type, int root,
                     int64_t timeout_ms);
RM_API int rm_scatter(rm_communicator* communicator, const void* send, void* receive, int64_t count, int type, int root,
                      int64_t timeout_ms);
RM_API int rm_all_to_all(rm_communicator* communicator, const void* send, void* receive, int64_t count, int type,
                         int64_t timeout_ms);
RM_API int rm_all_to_all_v(rm_communicator* communicator, const void* send, const int64_t* send_counts, void* receive,
                           const int64_t* receive_counts, int type, int64_t timeout_ms);
RM_API int rm_send(rm_communicator* communicator, const void* send, int64_t count, int type, int peer, int64_t timeout_ms);
RM_API int rm_receive(rm_communicator* communicator, void* receive, int64_t count, int type, int peer, int64_t timeout_ms);
RM_API int rm_barrier(rm_communicator* communicator, int64_t timeout_ms);

#ifdef __cplusplus
}
#endif

#endif /* RINGMASTER_COLLECTIVES_C_API_RINGMASTER_H_ */
