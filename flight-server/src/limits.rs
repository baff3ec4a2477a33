//! Every bound of the server, with its name and unit.
//!
//! A limit that an operator may need to change is a field of [`ServerConfig`](crate::config::ServerConfig) whose default is
//! here; the others protect the process and stay constants.

use std::time::Duration;

/// Largest gRPC message taken from a client, bytes. Stock clients send a whole record batch as one message.
pub(crate) const REQUEST_MESSAGE_BYTES_MAX: usize = 256 << 20;
/// HTTP/2 flow-control window of one stream, bytes.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// HTTP/2 flow-control window of one connection, bytes.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Largest HTTP/2 frame a client may send, bytes.
pub(crate) const FRAME_BYTES_MAX: u32 = 1 << 20;
/// Headers of one request, bytes. Some JDBC tools send their whole property bag as headers.
pub(crate) const HEADER_LIST_BYTES_MAX: u32 = 64 << 10;
/// How often an idle connection is pinged.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long a ping may stay unanswered before the connection is closed.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a client may take to agree on TLS.
pub(crate) const TLS_HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// Streams open at once on one connection.
pub(crate) const STREAMS_PER_CONNECTION_MAX: u32 = 128;
/// Streams that a peer opened and reset before we accepted them (rapid reset).
pub(crate) const PENDING_RESET_STREAMS_MAX: usize = 20;
/// Streams that we reset because of a peer's errors.
pub(crate) const LOCAL_RESET_STREAMS_MAX: usize = 256;
/// How long calls in flight may take to finish at shutdown.
pub(crate) const DRAIN_TIME: Duration = Duration::from_secs(30);
/// How long the first message of a DoPut may take.
pub(crate) const FIRST_MESSAGE_TIME: Duration = Duration::from_secs(30);
/// How long an append waits for its next message. People type rows into notebooks, so this is no 30 s.
pub(crate) const APPEND_IDLE_TIME: Duration = Duration::from_secs(5 * 60);
/// Bytes of an append id at most. Tables take somewhat more: the ids of single batches end with their number.
pub(crate) const APPEND_ID_BYTES_MAX: usize = 480;
/// Messages smaller than this, bytes, are decoded where they arrive; moving them to another thread would cost more.
pub(crate) const DECODE_INLINE_BYTES_MAX: usize = 256 << 10;

/// Text of one SQL statement, bytes.
pub(crate) const SQL_BYTES_MAX: usize = 64 << 10;
/// Tokens of one SQL statement.
pub(crate) const SQL_TOKENS_MAX: usize = 20_000;
/// Terms of one chain of operators (`a + b + c`, `x OR y OR z`): planning time grows with its square.
pub(crate) const EXPRESSION_TERMS_MAX: usize = 500;
/// UNION, INTERSECT and EXCEPT in one statement.
pub(crate) const SET_OPERATIONS_MAX: usize = 64;
/// Joins in one statement.
pub(crate) const JOINS_MAX: usize = 32;
/// Tables in a statement once every common table expression is written out where it is used.
pub(crate) const CTE_EXPANSION_MAX: usize = 1_000;
/// Nesting of parentheses, CASE and the like that the parser follows.
pub(crate) const PARSER_DEPTH_MAX: usize = 50;
/// Encoded Substrait plan, bytes. A reference costs a few bytes there whatever the length of what it refers to, so a longer one could
/// grow by far more than SQL can.
pub(crate) const SUBSTRAIT_BYTES_MAX: usize = 64 << 10;
/// Messages inside one another in a Substrait plan: what prost decodes at most.
pub(crate) const SUBSTRAIT_DEPTH_MAX: usize = 100;
/// Arguments of all operators of a Substrait plan together.
pub(crate) const SUBSTRAIT_TERMS_MAX: usize = 2_000;
/// What the columns that one relation of a Substrait plan emits may hold, bytes: each may be a copy of all that lies below it.
pub(crate) const SUBSTRAIT_EMITTED_BYTES_MAX: usize = 64 << 20;
/// Stack of a thread that parses or plans, bytes.
pub(crate) const PLANNER_STACK_BYTES: usize = 16 << 20;
/// Stack of a thread that runs queries, bytes.
pub(crate) const WORKER_STACK_BYTES: usize = 16 << 20;
/// Statements planned at once; the others wait.
pub(crate) const PLANNERS_MAX: usize = 16;
/// How long planning one statement may take before the call gives up on it.
pub(crate) const PLANNING_TIME: Duration = Duration::from_secs(10);
/// What one call of `repeat`, `lpad` and the like may make from constants, bytes or elements.
pub(crate) const GENERATED_CONSTANT_BYTES_MAX: i64 = 64 << 10;
/// What one call of `repeat`, `lpad` and the like may make for one batch, bytes or elements.
pub(crate) const GENERATED_BYTES_MAX: i64 = 64 << 20;
/// Planned queries that are kept for their next use.
pub(crate) const PLANS_MAX: usize = 64;
/// How long an unused plan is kept. The calls of one query follow each other at once.
pub(crate) const PLAN_LIFE: Duration = Duration::from_secs(60);
/// Longest statement, or encoded Substrait plan, whose plan is kept, bytes.
pub(crate) const PLAN_SOURCE_BYTES_MAX: usize = 8 << 10;

/// How long a query that was cancelled stays so for those who fetch it later.
pub(crate) const CANCELLED_QUERY_TIME: Duration = Duration::from_secs(10 * 60);
/// Cancelled queries that are remembered.
pub(crate) const CANCELLED_QUERIES_MAX: usize = 10_000;

/// How long a statement waits for the version that its caller asks for at least.
pub(crate) const MIN_VERSION_TIME: Duration = Duration::from_secs(10);
/// Shortest and longest pause between two looks for it.
pub(crate) const MIN_VERSION_PAUSES: (Duration, Duration) =
    (Duration::from_millis(5), Duration::from_millis(200));
/// Looks at several tables that others write to, until two agree; after that a statement takes what it has.
pub(crate) const LOOKS_MAX: usize = 8;
/// Tables that are looked at at the same time.
pub(crate) const LOOKS_IN_FLIGHT: usize = 16;

/// Rows of one record batch inside the query engine. Twice DataFusion's default speeds up wide exports; with more, a literal
/// of the longest statement, copied into every row, would no longer fit one Arrow array.
pub(crate) const QUERY_BATCH_ROWS: usize = 16_384;
/// Memory of all queries together, bytes, when the configuration says nothing.
pub(crate) const QUERY_MEMORY_BYTES: usize = 1 << 30;
/// Disk that queries may spill to, bytes, when the configuration says nothing.
pub(crate) const QUERY_SPILL_BYTES: u64 = 16 << 30;
/// Target size of one FlightData message to a client, bytes. Clients default to a 4 MiB limit.
pub(crate) const RESPONSE_MESSAGE_BYTES: usize = 2 << 20;

/// Prepared statements alive at once, over all clients.
pub(crate) const PREPARED_STATEMENTS_MAX: usize = 10_000;
/// How long an unused prepared statement is kept, with what is bound to it. Its handle is good for longer.
pub(crate) const PREPARED_STATEMENT_TTL: Duration = Duration::from_secs(30 * 60);
/// Parameters of one statement.
pub(crate) const PARAMETERS_MAX: usize = 1_000;
/// Rows bound to one prepared statement.
pub(crate) const PARAMETER_ROWS_MAX: usize = 100_000;
/// Parameters bound to one statement, bytes.
pub(crate) const PARAMETER_BYTES_MAX: usize = 64 << 20;
/// Parameters bound to all prepared statements together, bytes.
pub(crate) const BOUND_PARAMETER_BYTES_MAX: usize = 256 << 20;
/// Bound parameters of a query, encoded, bytes: they travel in the ticket, which a client decodes with a 4 MiB limit.
pub(crate) const TICKET_PARAMETER_BYTES_MAX: usize = 3 << 20;

/// Bound parameters, encoded, that a handle carries, bytes: it is sent with every use. More stay where they were bound.
pub(crate) const HANDLE_PARAMETER_BYTES_MAX: usize = 16 << 10;

/// How often a table that is to replace another is held against the one that has the name by then (C6).
pub(crate) const NAMING_TRIES_MAX: usize = 20;

/// Endpoints of one query at most.
pub(crate) const ENDPOINTS_MAX: usize = 64;

/// Longest error message as the trailer has it, bytes: what is no plain ASCII takes three for each. The whole trailer must stay
/// below the 8 KiB that clients accept, and the message is in it twice.
pub(crate) const ERROR_MESSAGE_BYTES_MAX: usize = 2 << 10;
/// Longest value of one error detail, bytes.
pub(crate) const ERROR_DETAIL_BYTES_MAX: usize = 512;
