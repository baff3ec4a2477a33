package coverline.conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import coverline.example.Overlap;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Collectors;
import org.apache.arrow.adbc.core.AdbcConnection;
import org.apache.arrow.adbc.core.AdbcDatabase;
import org.apache.arrow.adbc.core.AdbcDriver;
import org.apache.arrow.adbc.core.AdbcException;
import org.apache.arrow.adbc.core.AdbcStatement;
import org.apache.arrow.adbc.core.AdbcStatusCode;
import org.apache.arrow.adbc.core.BulkIngestMode;
import org.apache.arrow.adbc.driver.flightsql.FlightSqlDriver;
import org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.memory.RootAllocator;
import org.apache.arrow.vector.BigIntVector;
import org.apache.arrow.vector.VarCharVector;
import org.apache.arrow.vector.VectorSchemaRoot;
import org.apache.arrow.vector.ipc.ArrowReader;
import org.apache.arrow.vector.types.pojo.ArrowType;
import org.apache.arrow.vector.types.pojo.Field;
import org.apache.arrow.vector.types.pojo.Schema;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

@DisplayName("ADBC Java, Flight SQL driver")
class AdbcTest {
  private static final String DETAILS = "grpc-status-details-bin";
  private static final Schema ROWS =
      new Schema(List.of(Field.nullable("id", new ArrowType.Int(64, true)), Field.nullable("name", new ArrowType.Utf8())));

  private BufferAllocator allocator;
  private AdbcDatabase database;
  private AdbcConnection connection;

  @BeforeEach
  void connect() throws AdbcException {
    allocator = new RootAllocator();
    Map<String, Object> options = new HashMap<>();
    AdbcDriver.PARAM_URI.set(options, "grpc+tcp://" + Server.address());
    database = new FlightSqlDriver(allocator).open(options);
    connection = database.connect();
  }

  /** The allocator also checks that no buffer of an answer was lost. */
  @AfterEach
  void close() throws Exception {
    connection.close();
    database.close();
    allocator.close();
  }

  @Test
  @DisplayName("connects with a user and a password")
  void credentials() throws Exception {
    Map<String, Object> options = new HashMap<>();
    AdbcDriver.PARAM_URI.set(options, "grpc+tcp://" + Server.address());
    AdbcDriver.PARAM_USERNAME.set(options, "somebody");
    AdbcDriver.PARAM_PASSWORD.set(options, "secret");
    try (AdbcDatabase other = new FlightSqlDriver(allocator).open(options);
        AdbcConnection authenticated = other.connect();
        AdbcStatement statement = authenticated.createStatement()) {
      statement.setSqlQuery("SELECT 1 AS n");
      assertEquals(List.of(Map.of("n", "1")), rows(statement));
    }
  }

  @Test
  @DisplayName("creates, fills, reads and drops a table by SQL")
  void sql() throws Exception {
    String name = Server.freshName();
    update("CREATE TABLE " + name + " (id BIGINT, name TEXT)");
    assertEquals(2, update("INSERT INTO " + name + " VALUES (1, 'a'), (2, NULL)"));
    assertEquals("2", query("SELECT count(*) AS n FROM " + name).get(0).get("n"));
    update("DROP TABLE " + name);
    AdbcException gone = assertThrows(AdbcException.class, () -> query("SELECT * FROM " + name));
    assertTrue(gone.getMessage().contains(name), gone.getMessage());
  }

  @Test
  @DisplayName("reads every type that SQL can make")
  void types() throws Exception {
    Map<String, String> row =
        query(
                "SELECT true AS b, CAST(-5 AS SMALLINT) AS i, CAST(200 AS TINYINT UNSIGNED) AS u, 2.5 AS f, 'text' AS s,"
                    + " CAST(1.25 AS DECIMAL(10, 2)) AS d, DATE '2025-03-01' AS day, TIME '01:02:03' AS t,"
                    + " TIMESTAMP '2025-03-01T01:02:03' AS ts, X'00ff' AS bin, [1, 2] AS l, NULL AS n")
            .get(0);
    assertEquals("true", row.get("b"));
    assertEquals("-5", row.get("i"));
    assertEquals("2.5", row.get("f"));
    assertEquals("text", row.get("s"));
    assertEquals("1.25", row.get("d"));
    assertEquals("[1,2]", row.get("l"));
    assertEquals("null", row.get("n"));
  }

  @Test
  @DisplayName("a prepared statement takes parameters, and the schema of both is known")
  void prepared() throws Exception {
    String name = ingested();
    try (AdbcStatement statement = connection.createStatement();
        VectorSchemaRoot values = VectorSchemaRoot.create(new Schema(List.of(ROWS.findField("id"))), allocator)) {
      statement.setSqlQuery("SELECT name FROM " + name + " WHERE id = ?");
      statement.prepare();
      assertEquals(1, statement.getParameterSchema().getFields().size());
      assertEquals("name", statement.executeSchema().getFields().get(0).getName());
      ((BigIntVector) values.getVector(0)).setSafe(0, 2);
      values.setRowCount(1);
      statement.bind(values);
      assertEquals(List.of(Map.of("name", "b")), rows(statement));
    }
  }

  @Test
  @DisplayName("bulk ingestion creates a table, or adds to one that is there")
  void ingest() throws Exception {
    String name = ingested();
    assertEquals(2, bulk(name, BulkIngestMode.APPEND));
    assertEquals("4", query("SELECT count(*) AS n FROM " + name).get(0).get("n"));
    assertEquals(
        AdbcStatusCode.ALREADY_EXISTS,
        assertThrows(AdbcException.class, () -> bulk(name, BulkIngestMode.CREATE)).getStatus());
  }

  @Test
  @DisplayName("rows that are there already are ALREADY_EXISTS, and getDetails() has the facts")
  void overlap() throws Exception {
    String name = Server.freshName();
    update(
        "CREATE TABLE " + name + " (ts TIMESTAMP(6) WITH TIME ZONE NOT NULL, symbol TEXT NOT NULL)"
            + " WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')");
    String insert = "INSERT INTO " + name + " VALUES (TIMESTAMP '2025-03-01T05:30:00Z', 'AAPL')";
    assertEquals(1, update(insert));
    AdbcException refused = assertThrows(AdbcException.class, () -> update(insert));
    assertEquals(AdbcStatusCode.ALREADY_EXISTS, refused.getStatus());
    Map<String, Object> details =
        refused.getDetails().stream().collect(Collectors.toMap(detail -> detail.getKey(), detail -> detail.getValue()));
    assertEquals("COVERAGE_OVERLAP", details.get("x-coverline-error"));
    assertEquals("1", details.get("x-coverline-overlap-count"));
    assertNotNull(details.get(DETAILS), details.keySet().toString());
    assertEquals(
        new Overlap(name, 1, "symbol=\"AAPL\"", "2025-03-01T05:00:00Z", "2025-03-01T06:00:00Z", 2, Optional.of(true)),
        Overlap.parse((byte[]) details.get(DETAILS)).orElseThrow());
  }

  @Test
  @DisplayName("metadata: objects to every depth")
  void metadata() throws Exception {
    String name = ingested();
    for (AdbcConnection.GetObjectsDepth depth : AdbcConnection.GetObjectsDepth.values()) {
      try (ArrowReader objects = connection.getObjects(depth, null, null, name, null, null)) {
        String all = text(objects);
        assertTrue(all.contains("coverline"), all);
        boolean tables = depth == AdbcConnection.GetObjectsDepth.ALL || depth == AdbcConnection.GetObjectsDepth.TABLES;
        assertEquals(tables, all.contains(name), depth + ": " + all);
      }
    }
  }

  @Test
  @DisplayName("limit: getInfo() empties what the server says of itself before reading it, and needs getVectorSchemaRoot() first")
  void info() throws Exception {
    try (ArrowReader unopened = connection.getInfo()) {
      assertThrows(NullPointerException.class, unopened::loadNextBatch);
    }
    try (ArrowReader info = connection.getInfo()) {
      info.getVectorSchemaRoot();
      String all = text(info);
      assertTrue(all.contains("ADBC Flight SQL Driver"), all);
      assertFalse(all.contains("Coverline"), all);
    }
  }

  @Test
  @DisplayName("limit: getTableTypes() and getTableSchema() are not in the driver; getObjects() tells types and columns")
  void tableTypesAndSchema() throws Exception {
    String name = ingested();
    for (Executable missing : List.<Executable>of(connection::getTableTypes, () -> connection.getTableSchema(null, null, name))) {
      assertEquals(AdbcStatusCode.NOT_IMPLEMENTED, assertThrows(AdbcException.class, missing).getStatus());
    }
  }

  @Test
  @DisplayName("a partition of a result is read by another connection")
  void partitions() throws Exception {
    String name = ingested();
    try (AdbcStatement statement = connection.createStatement();
        AdbcConnection other = database.connect()) {
      statement.setSqlQuery("SELECT * FROM " + name);
      var partitions = statement.executePartitioned().getPartitionDescriptors();
      assertEquals(1, partitions.size());
      try (ArrowReader reader = other.readPartition(partitions.get(0).getDescriptor())) {
        assertTrue(reader.loadNextBatch());
        assertEquals(2, reader.getVectorSchemaRoot().getRowCount());
      }
    }
  }

  @Test
  @DisplayName("bad SQL is INVALID_ARGUMENT with a message")
  void badSql() {
    AdbcException bad = assertThrows(AdbcException.class, () -> query("SELEC 1"));
    assertEquals(AdbcStatusCode.INVALID_ARGUMENT, bad.getStatus());
    assertTrue(bad.getMessage().contains("SELEC"), bad.getMessage());
  }

  /** A new table of two rows. */
  private String ingested() throws Exception {
    String name = Server.freshName();
    assertEquals(2, bulk(name, BulkIngestMode.CREATE));
    return name;
  }

  private long bulk(String name, BulkIngestMode mode) throws Exception {
    try (AdbcStatement statement = connection.bulkIngest(name, mode);
        VectorSchemaRoot batch = VectorSchemaRoot.create(ROWS, allocator)) {
      for (int row = 0; row < 2; row++) {
        ((BigIntVector) batch.getVector("id")).setSafe(row, row + 1);
        ((VarCharVector) batch.getVector("name")).setSafe(row, (row == 0 ? "a" : "b").getBytes(StandardCharsets.UTF_8));
      }
      batch.setRowCount(2);
      statement.bind(batch);
      return statement.executeUpdate().getAffectedRows();
    }
  }

  private long update(String sql) throws Exception {
    try (AdbcStatement statement = connection.createStatement()) {
      statement.setSqlQuery(sql);
      return statement.executeUpdate().getAffectedRows();
    }
  }

  private List<Map<String, String>> query(String sql) throws Exception {
    try (AdbcStatement statement = connection.createStatement()) {
      statement.setSqlQuery(sql);
      return rows(statement);
    }
  }

  private static List<Map<String, String>> rows(AdbcStatement statement) throws Exception {
    var all = new ArrayList<Map<String, String>>();
    try (AdbcStatement.QueryResult result = statement.executeQuery();
        ArrowReader reader = result.getReader()) {
      while (reader.loadNextBatch()) {
        VectorSchemaRoot batch = reader.getVectorSchemaRoot();
        for (int i = 0; i < batch.getRowCount(); i++) {
          var row = new HashMap<String, String>();
          for (var column : batch.getFieldVectors()) {
            row.put(column.getName(), String.valueOf(column.getObject(i)));
          }
          all.add(row);
        }
      }
    }
    return all;
  }

  private static String text(ArrowReader reader) throws Exception {
    var text = new StringBuilder();
    while (reader.loadNextBatch()) {
      text.append(reader.getVectorSchemaRoot().contentToTSVString());
    }
    return text.toString();
  }
}
