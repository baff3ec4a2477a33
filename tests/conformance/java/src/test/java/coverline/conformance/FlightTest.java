package coverline.conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import coverline.example.Overlap;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.apache.arrow.flight.CallHeaders;
import org.apache.arrow.flight.CallOption;
import org.apache.arrow.flight.CloseSessionRequest;
import org.apache.arrow.flight.CloseSessionResult;
import org.apache.arrow.flight.FlightCallHeaders;
import org.apache.arrow.flight.FlightClient;
import org.apache.arrow.flight.FlightDescriptor;
import org.apache.arrow.flight.FlightEndpoint;
import org.apache.arrow.flight.FlightInfo;
import org.apache.arrow.flight.FlightRuntimeException;
import org.apache.arrow.flight.FlightStatusCode;
import org.apache.arrow.flight.FlightStream;
import org.apache.arrow.flight.GetSessionOptionsRequest;
import org.apache.arrow.flight.HeaderCallOption;
import org.apache.arrow.flight.SessionOptionValueFactory;
import org.apache.arrow.flight.SetSessionOptionsRequest;
import org.apache.arrow.flight.SyncPutListener;
import org.apache.arrow.flight.sql.FlightSqlClient;
import org.apache.arrow.flight.sql.FlightSqlClient.ExecuteIngestOptions;
import org.apache.arrow.flight.sql.impl.FlightSql.CommandStatementIngest.TableDefinitionOptions;
import org.apache.arrow.flight.sql.impl.FlightSql.CommandStatementIngest.TableDefinitionOptions.TableExistsOption;
import org.apache.arrow.flight.sql.impl.FlightSql.CommandStatementIngest.TableDefinitionOptions.TableNotExistOption;
import org.apache.arrow.flight.sql.impl.FlightSql.DoPutUpdateResult;
import org.apache.arrow.flight.sql.util.TableRef;
import org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.memory.RootAllocator;
import org.apache.arrow.vector.BigIntVector;
import org.apache.arrow.vector.Float8Vector;
import org.apache.arrow.vector.TimeStampMicroTZVector;
import org.apache.arrow.vector.VarCharVector;
import org.apache.arrow.vector.VectorSchemaRoot;
import org.apache.arrow.vector.types.FloatingPointPrecision;
import org.apache.arrow.vector.types.TimeUnit;
import org.apache.arrow.vector.types.pojo.ArrowType;
import org.apache.arrow.vector.types.pojo.Field;
import org.apache.arrow.vector.types.pojo.FieldType;
import org.apache.arrow.vector.types.pojo.Schema;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;

@DisplayName("Java Flight and FlightSqlClient")
class FlightTest {
  private static final Instant DAY = Instant.parse("2025-03-01T00:00:00Z");
  private static final Schema SCHEMA =
      new Schema(
          List.of(
              Field.notNullable("ts", new ArrowType.Timestamp(TimeUnit.MICROSECOND, "UTC")),
              Field.notNullable("symbol", new ArrowType.Utf8()),
              new Field("close", FieldType.nullable(new ArrowType.FloatingPoint(FloatingPointPrecision.DOUBLE)), null)));

  private BufferAllocator allocator;
  private FlightClient flight;
  private FlightSqlClient sql;
  private String table;

  @BeforeEach
  void connect() {
    allocator = new RootAllocator();
    flight = FlightClient.builder(allocator, Server.location()).build();
    sql = new FlightSqlClient(flight);
    table = Server.freshName();
    sql.executeUpdate(
        "CREATE TABLE " + table + " (ts TIMESTAMP(6) WITH TIME ZONE NOT NULL, symbol TEXT NOT NULL, close DOUBLE)"
            + " WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')");
  }

  /** The allocator also checks that no buffer of an answer was lost. */
  @AfterEach
  void close() throws Exception {
    sql.close();
    allocator.close();
  }

  @Test
  @DisplayName("an append to the path of a table is one version")
  void append() throws Exception {
    assertEquals(48, put(table, 0));
    assertEquals(48, put(table, 1));
    assertEquals(96, count());
  }

  @Test
  @DisplayName("the same append again is ALREADY_EXISTS and carries the facts")
  void overlap() throws Exception {
    put(table, 0);
    FlightRuntimeException refused = refusal(() -> put(table, 0));
    assertEquals(FlightStatusCode.ALREADY_EXISTS, refused.status().code());
    assertTrue(refused.getMessage().contains("48 buckets"), refused.getMessage());
    assertEquals(
        new Overlap(table, 48, "symbol=\"AAPL\"", "2025-03-01T00:00:00Z", "2025-03-01T01:00:00Z", 2, Optional.of(true)),
        Overlap.of(refused).orElseThrow());
    assertEquals("COVERAGE_OVERLAP", refused.status().metadata().get("x-coverline-error"));
    assertEquals(48, count());
  }

  @Test
  @DisplayName("headers choose what happens to rows that overlap, and make a retry harmless")
  void headers() throws Exception {
    put(table, 0);
    assertEquals(0, put(table, 0, header("x-coverline-on-overlap", "skip")));
    CallOption id = header("x-coverline-append-id", "day-1-of-" + table);
    assertEquals(48, put(table, 1, id));
    assertEquals(48, put(table, 1, id));
    assertEquals(96, count());
  }

  @Test
  @DisplayName("an append to a table that is not there is NOT_FOUND; one with a wrong column says which")
  void wrongAppends() throws Exception {
    assertEquals(FlightStatusCode.NOT_FOUND, refusal(() -> put("nowhere", 0)).status().code());
    Schema wrong = new Schema(List.of(Field.notNullable("ts", new ArrowType.Bool()), SCHEMA.findField("symbol")));
    try (VectorSchemaRoot batch = VectorSchemaRoot.create(wrong, allocator)) {
      batch.allocateNew();
      batch.setRowCount(1);
      FlightRuntimeException refused = refusal(() -> put(FlightDescriptor.path(table), batch));
      assertEquals(FlightStatusCode.INVALID_ARGUMENT, refused.status().code());
      assertTrue(refused.getMessage().contains("ts"), refused.getMessage());
    }
    assertEquals(0, count());
  }

  @Test
  @DisplayName("bulk ingestion by executeIngest in each mode")
  void executeIngest() throws Exception {
    assertEquals(48, ingest(table, TableNotExistOption.TABLE_NOT_EXIST_OPTION_FAIL, TableExistsOption.TABLE_EXISTS_OPTION_APPEND, 0));
    FlightRuntimeException refused =
        refusal(
            () -> ingest(table, TableNotExistOption.TABLE_NOT_EXIST_OPTION_FAIL, TableExistsOption.TABLE_EXISTS_OPTION_APPEND, 0));
    assertEquals(48, Overlap.of(refused).orElseThrow().count());
    String created = Server.freshName();
    assertEquals(48, ingest(created, TableNotExistOption.TABLE_NOT_EXIST_OPTION_CREATE, TableExistsOption.TABLE_EXISTS_OPTION_FAIL, 0));
    FlightRuntimeException there =
        refusal(
            () -> ingest(created, TableNotExistOption.TABLE_NOT_EXIST_OPTION_CREATE, TableExistsOption.TABLE_EXISTS_OPTION_FAIL, 0));
    assertEquals(FlightStatusCode.ALREADY_EXISTS, there.status().code());
    FlightRuntimeException missing =
        refusal(
            () ->
                ingest(
                    Server.freshName(),
                    TableNotExistOption.TABLE_NOT_EXIST_OPTION_FAIL,
                    TableExistsOption.TABLE_EXISTS_OPTION_APPEND,
                    0));
    assertEquals(FlightStatusCode.NOT_FOUND, missing.status().code());
  }

  @Test
  @DisplayName("queries directly and by path, and the announced schema is the one that arrives")
  void queries() throws Exception {
    put(table, 0);
    FlightInfo info = sql.execute("SELECT symbol, count(*) AS n FROM " + table + " GROUP BY symbol ORDER BY symbol");
    try (FlightStream rows = stream(info)) {
      assertEquals(info.getSchema(), rows.getSchema());
      assertTrue(rows.next());
      assertEquals("NVDA", rows.getRoot().getVector("symbol").getObject(1).toString());
      assertEquals(24, ((BigIntVector) rows.getRoot().getVector("n")).get(1));
      assertFalse(rows.next());
    }
    assertEquals(48, rowsOf(flight.getInfo(FlightDescriptor.path(table))));
    assertEquals(SCHEMA.getFields().size(), flight.getSchema(FlightDescriptor.path(table)).getSchema().getFields().size());
  }

  @Test
  @DisplayName("a prepared statement takes parameters again and again")
  void prepared() throws Exception {
    put(table, 0);
    try (FlightSqlClient.PreparedStatement query = sql.prepare("SELECT count(*) AS n FROM " + table + " WHERE symbol = ?")) {
      assertEquals(1, query.getParameterSchema().getFields().size());
      Field parameter = Field.nullable("symbol", new ArrowType.Utf8());
      for (var expected : Map.of("AAPL", 24L, "none", 0L).entrySet()) {
        try (VectorSchemaRoot values = VectorSchemaRoot.create(new Schema(List.of(parameter)), allocator)) {
          ((VarCharVector) values.getVector(0)).setSafe(0, expected.getKey().getBytes(StandardCharsets.UTF_8));
          values.setRowCount(1);
          query.setParameters(values);
          try (FlightStream rows = stream(query.execute())) {
            assertTrue(rows.next());
            assertEquals(expected.getValue(), ((BigIntVector) rows.getRoot().getVector("n")).get(0));
          }
          query.clearParameters();
        }
      }
    }
  }

  @Test
  @DisplayName("metadata commands answer, and each result has the announced schema")
  void metadata() throws Exception {
    List<FlightInfo> all =
        List.of(
            sql.getCatalogs(),
            sql.getSchemas(null, null),
            sql.getTables(null, null, table, null, true),
            sql.getTables(null, null, table, null, false),
            sql.getTableTypes(),
            sql.getSqlInfo(),
            sql.getXdbcTypeInfo(),
            sql.getPrimaryKeys(TableRef.of(null, null, table)),
            sql.getExportedKeys(TableRef.of(null, null, table)),
            sql.getImportedKeys(TableRef.of(null, null, table)));
    for (FlightInfo info : all) {
      try (FlightStream rows = stream(info)) {
        assertEquals(info.getSchema(), rows.getSchema());
        while (rows.next()) {
          rows.getRoot().contentToTSVString();
        }
      }
    }
    assertEquals(1, rowsOf(all.get(2)));
  }

  @Test
  @DisplayName("session options are set, read and closed")
  void session() {
    var set =
        sql.setSessionOptions(
            new SetSessionOptionsRequest(
                Map.of("catalog", SessionOptionValueFactory.makeSessionOptionValue("coverline"))));
    assertFalse(set.hasErrors(), () -> set.getErrors().toString());
    var refused =
        sql.setSessionOptions(
            new SetSessionOptionsRequest(Map.of("no_such_option", SessionOptionValueFactory.makeSessionOptionValue("x"))));
    assertTrue(refused.hasErrors());
    sql.getSessionOptions(new GetSessionOptionsRequest());
    assertEquals(CloseSessionResult.Status.CLOSED, sql.closeSession(new CloseSessionRequest()).getStatus());
  }

  @Test
  @DisplayName("bad SQL is INVALID_ARGUMENT or NOT_FOUND with a message, before any row")
  void badSql() {
    FlightRuntimeException bad = assertThrows(FlightRuntimeException.class, () -> sql.execute("SELEC 1"));
    assertEquals(FlightStatusCode.INVALID_ARGUMENT, bad.status().code());
    assertTrue(bad.getMessage().contains("SELEC"), bad.getMessage());
    FlightRuntimeException missing = assertThrows(FlightRuntimeException.class, () -> sql.execute("SELECT * FROM nowhere"));
    assertTrue(
        missing.status().code() == FlightStatusCode.NOT_FOUND || missing.status().code() == FlightStatusCode.INVALID_ARGUMENT,
        missing.status().toString());
  }

  @Test
  @DisplayName("a query that is given up ends, and the connection goes on")
  void cancel() throws Exception {
    FlightInfo info = sql.execute("SELECT a.value FROM generate_series(1, 100000) a, generate_series(1, 100000) b");
    try (FlightStream rows = stream(info)) {
      assertTrue(rows.next());
      rows.cancel("enough", null);
    }
    assertEquals(0, count());
  }

  private interface Attempt {
    void run() throws Exception;
  }

  /** The error of Flight behind whatever the attempt throws. */
  private static FlightRuntimeException refusal(Attempt attempt) {
    Throwable thrown = assertThrows(Exception.class, attempt::run);
    while (!(thrown instanceof FlightRuntimeException)) {
      assertTrue(thrown.getCause() != null, "no FlightRuntimeException, but " + thrown);
      thrown = thrown.getCause();
    }
    return (FlightRuntimeException) thrown;
  }

  private static CallOption header(String name, String value) {
    CallHeaders headers = new FlightCallHeaders();
    headers.insert(name, value);
    return new HeaderCallOption(headers);
  }

  private long ingest(String name, TableNotExistOption missing, TableExistsOption there, int day) throws Exception {
    TableDefinitionOptions definition =
        TableDefinitionOptions.newBuilder().setIfNotExist(missing).setIfExists(there).build();
    try (VectorSchemaRoot batch = day(day)) {
      return sql.executeIngest(batch, new ExecuteIngestOptions(name, definition, null, null, null));
    }
  }

  private long put(String name, int day, CallOption... options) throws Exception {
    try (VectorSchemaRoot batch = day(day)) {
      return put(FlightDescriptor.path(name), batch, options);
    }
  }

  /** Appends one batch; the rows that the receipt tells. */
  private long put(FlightDescriptor descriptor, VectorSchemaRoot batch, CallOption... options)
      throws Exception {
    try (SyncPutListener answers = new SyncPutListener()) {
      FlightClient.ClientStreamListener stream = flight.startPut(descriptor, batch, answers, options);
      stream.putNext();
      stream.completed();
      try (var answer = answers.read()) {
        // The receipt begins like DoPutUpdateResult: field 1 is the count.
        return DoPutUpdateResult.parseFrom(answer.getApplicationMetadata().nioBuffer()).getRecordCount();
      }
    }
  }

  /** Hourly rows of two symbols, 48. */
  private VectorSchemaRoot day(int number) {
    VectorSchemaRoot batch = VectorSchemaRoot.create(SCHEMA, allocator);
    var ts = (TimeStampMicroTZVector) batch.getVector("ts");
    var symbol = (VarCharVector) batch.getVector("symbol");
    var close = (Float8Vector) batch.getVector("close");
    int row = 0;
    for (String name : List.of("AAPL", "NVDA")) {
      for (int hour = 0; hour < 24; hour++, row++) {
        ts.setSafe(row, (DAY.getEpochSecond() + (number * 24L + hour) * 3600) * 1_000_000);
        symbol.setSafe(row, name.getBytes(StandardCharsets.UTF_8));
        close.setSafe(row, 100.0 + hour);
      }
    }
    batch.setRowCount(row);
    return batch;
  }

  private FlightStream stream(FlightInfo info) {
    List<FlightEndpoint> endpoints = info.getEndpoints();
    assertEquals(1, endpoints.size());
    return flight.getStream(endpoints.get(0).getTicket());
  }

  private long rowsOf(FlightInfo info) throws Exception {
    long rows = 0;
    try (FlightStream stream = stream(info)) {
      while (stream.next()) {
        rows += stream.getRoot().getRowCount();
      }
    }
    return rows;
  }

  private long count() throws Exception {
    var counts = new ArrayList<Long>();
    try (FlightStream rows = stream(sql.execute("SELECT count(*) AS n FROM " + table))) {
      while (rows.next()) {
        counts.add(((BigIntVector) rows.getRoot().getVector("n")).get(0));
      }
    }
    assertEquals(1, counts.size());
    return counts.get(0);
  }
}
