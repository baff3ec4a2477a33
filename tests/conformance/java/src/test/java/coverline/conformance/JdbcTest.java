package coverline.conformance;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import coverline.example.Overlap;
import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.Date;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.sql.Types;
import java.time.Instant;
import java.util.Optional;
import java.util.Properties;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.arrow.driver.jdbc.shaded.org.apache.arrow.flight.CallStatus;
import org.apache.arrow.driver.jdbc.shaded.org.apache.arrow.flight.FlightRuntimeException;
import org.apache.arrow.driver.jdbc.shaded.org.apache.arrow.flight.FlightStatusCode;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;

@DisplayName("Flight SQL JDBC driver")
class JdbcTest {
  private static final Instant DAY = Instant.parse("2025-03-01T00:00:00Z");

  private Connection connection;

  @BeforeEach
  void connect() throws SQLException {
    connection = Server.connect();
  }

  @AfterEach
  void close() throws SQLException {
    connection.close();
  }

  @Test
  @DisplayName("connects with the URL that the demo prints, with and without its slash")
  void connects() throws SQLException {
    for (String url : new String[] {Server.jdbcUrl(), Server.jdbcUrl().replace("/?", "?")}) {
      try (Connection other = DriverManager.getConnection(url)) {
        assertTrue(other.isValid(5));
        assertEquals(1, only(other, "SELECT 1"));
      }
    }
  }

  @Test
  @DisplayName("connects with a user and a password, with a token, and with properties the server has never heard of")
  void connectsWithCredentials() throws SQLException {
    try (Connection other = DriverManager.getConnection(Server.jdbcUrl(), "somebody", "p:ass")) {
      assertEquals(1, only(other, "SELECT 1"));
    }
    Properties properties = new Properties();
    properties.put("token", "abc");
    properties.put("applicationName", "DBeaver");
    properties.put("database", "coverline");
    try (Connection other = DriverManager.getConnection(Server.jdbcUrl(), properties)) {
      assertEquals(1, only(other, "SELECT 1"));
    }
  }

  @Test
  @DisplayName("connects over TLS, which is its default, to a server whose authority it is told to trust, and to no other")
  void connectsOverTls() throws SQLException {
    String url = "jdbc:arrow-flight-sql://" + Server.secured() + "/";
    Properties trusting = new Properties();
    trusting.put("tlsRootCerts", Server.authority());
    try (Connection other = DriverManager.getConnection(url, trusting)) {
      assertEquals(42, only(other, "SELECT 41 + 1"));
    }
    // Without a login the driver connects when it has something to ask.
    assertThrows(
        SQLException.class,
        () -> {
          try (Connection stranger = DriverManager.getConnection(url)) {
            only(stranger, "SELECT 1");
          }
        });
  }

  @Test
  @DisplayName("shows its certificate to a server that serves nobody without one")
  void connectsWithACertificate() throws SQLException {
    String url = "jdbc:arrow-flight-sql://" + Server.closed() + "/";
    Properties shown = new Properties();
    shown.put("tlsRootCerts", Server.authority());
    assertThrows(
        SQLException.class,
        () -> {
          try (Connection stranger = DriverManager.getConnection(url, shown)) {
            only(stranger, "SELECT 1");
          }
        });
    shown.put("clientCertificate", Server.certificate());
    shown.put("clientKey", Server.key());
    try (Connection other = DriverManager.getConnection(url, shown)) {
      assertEquals(42, only(other, "SELECT 41 + 1"));
    }
  }

  @Test
  @DisplayName("asks for several endpoints by a property, which the driver sends as a header, and reads all of them in their order")
  void readsAllEndpoints() throws SQLException {
    String table = Server.pricesTable(connection);
    for (int part = 0; part < 4; part++) {
      String hours = part * 1000 + 1 + ", " + (part + 1) * 1000;
      Server.update(
          connection,
          "INSERT INTO " + table + " SELECT to_timestamp(i * 3600), 'A' || (i % 2), i FROM generate_series(" + hours + ") AS s(i)");
    }
    String sql = "SELECT ts, symbol, close FROM " + table + " ORDER BY ts";
    String expected = printed(connection, sql);
    assertEquals(4000, expected.lines().count());
    try (Connection other = DriverManager.getConnection(Server.jdbcUrl() + "&x-coverline-endpoints=8")) {
      assertEquals(expected, printed(other, sql));
    }
  }

  @Test
  @DisplayName("limit: compressed results need a module that the driver does not bring, which it says; the connection goes on without")
  void readsNoCompressedResults() throws SQLException {
    for (String codec : new String[] {"lz4", "zstd"}) {
      try (Connection other = DriverManager.getConnection(Server.jdbcUrl() + "&x-coverline-compression=" + codec)) {
        SQLException limit = assertThrows(SQLException.class, () -> printed(other, "SELECT value FROM generate_series(1, 5000)"));
        assertTrue(limit.getMessage().contains("arrow-compression"), limit.getMessage());
      }
    }
    try (Connection other = DriverManager.getConnection(Server.jdbcUrl() + "&x-coverline-compression=gzip")) {
      SQLException refused = assertThrows(SQLException.class, () -> only(other, "SELECT 1"));
      assertTrue(refused.getMessage().contains("gzip"), refused.getMessage());
    }
  }

  /** All values of all rows, in their order. */
  private static String printed(Connection connection, String sql) throws SQLException {
    StringBuilder printed = new StringBuilder();
    try (Statement statement = connection.createStatement();
        ResultSet rows = statement.executeQuery(sql)) {
      int columns = rows.getMetaData().getColumnCount();
      while (rows.next()) {
        for (int column = 1; column <= columns; column++) {
          printed.append(rows.getString(column)).append(column == columns ? '\n' : ' ');
        }
      }
    }
    return printed.toString();
  }

  @Test
  @DisplayName("chooses the catalog at connect; a wrong one is refused")
  void choosesTheCatalog() throws SQLException {
    Connection other = DriverManager.getConnection(Server.jdbcUrl() + "&catalog=coverline");
    assertEquals(1, only(other, "SELECT 1"));
    assertThrows(SQLException.class, () -> DriverManager.getConnection(Server.jdbcUrl() + "&catalog=nowhere"));
    // The driver ends the session a second time after its channel is closed, and calls that an error.
    SQLException limit = assertThrows(SQLException.class, other::close);
    assertTrue(limit.getMessage().contains("Channel shutdown invoked"), limit.getMessage());
  }

  @Test
  @DisplayName("creates, fills, reads and drops a table by SQL")
  void createsAndDrops() throws SQLException {
    String name = Server.freshName();
    Server.update(connection, "CREATE TABLE " + name + " (id BIGINT, name TEXT)");
    assertEquals(2, Server.update(connection, "INSERT INTO " + name + " VALUES (1, 'a'), (2, NULL)"));
    assertEquals(2, Server.count(connection, name));
    Server.update(connection, "DROP TABLE " + name);
    SQLException gone = assertThrows(SQLException.class, () -> Server.count(connection, name));
    assertTrue(gone.getMessage().contains(name), gone.getMessage());
  }

  @Test
  @DisplayName("execute() tells statements with rows from statements without")
  void executeTellsKinds() throws SQLException {
    String name = Server.freshName();
    try (Statement statement = connection.createStatement()) {
      assertFalse(statement.execute("CREATE TABLE " + name + " (id BIGINT)"));
      assertFalse(statement.execute("INSERT INTO " + name + " VALUES (1), (2), (3)"));
      assertEquals(3, statement.getUpdateCount());
      assertTrue(statement.execute("SELECT id FROM " + name + " ORDER BY id"));
      try (ResultSet rows = statement.getResultSet()) {
        assertTrue(rows.next());
        assertEquals(1, rows.getLong("id"));
      }
    }
    assertEquals(3, Server.count(connection, name), "the INSERT ran exactly once");
  }

  @Test
  @DisplayName("inserts one row with bound parameters of each type and reads them back")
  void bindsEveryType() throws SQLException {
    String name = Server.freshName();
    Server.update(
        connection,
        "CREATE TABLE " + name + " (b BOOLEAN, i8 TINYINT, i16 SMALLINT, i32 INT, i64 BIGINT, f32 REAL, f64 DOUBLE,"
            + " d DECIMAL(20, 4), s TEXT, bin BYTEA, day DATE, ts TIMESTAMP(3), tz TIMESTAMP(6) WITH TIME ZONE)");
    Timestamp moment = Timestamp.from(Instant.parse("2025-03-01T12:34:56.789Z"));
    try (PreparedStatement insert =
        connection.prepareStatement("INSERT INTO " + name + " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")) {
      assertEquals(13, insert.getParameterMetaData().getParameterCount());
      insert.setBoolean(1, true);
      insert.setByte(2, (byte) -8);
      insert.setShort(3, (short) 16);
      insert.setInt(4, 32);
      insert.setLong(5, Long.MIN_VALUE);
      insert.setFloat(6, 1.5f);
      insert.setDouble(7, -2.25);
      insert.setBigDecimal(8, new BigDecimal("12345678901234.5678"));
      insert.setString(9, "naïve ☃");
      insert.setBytes(10, new byte[] {0, 1, (byte) 255});
      insert.setDate(11, Date.valueOf("2025-03-01"));
      insert.setTimestamp(12, moment);
      insert.setTimestamp(13, moment);
      assertEquals(1, insert.executeUpdate());
    }
    try (Statement statement = connection.createStatement();
        ResultSet row = statement.executeQuery("SELECT * FROM " + name)) {
      assertTrue(row.next());
      assertTrue(row.getBoolean("b"));
      assertEquals(-8, row.getByte("i8"));
      assertEquals(16, row.getShort("i16"));
      assertEquals(32, row.getInt("i32"));
      assertEquals(Long.MIN_VALUE, row.getLong("i64"));
      assertEquals(1.5f, row.getFloat("f32"));
      assertEquals(-2.25, row.getDouble("f64"));
      assertEquals(new BigDecimal("12345678901234.5678"), row.getBigDecimal("d"));
      assertEquals("naïve ☃", row.getString("s"));
      assertArrayEquals(new byte[] {0, 1, (byte) 255}, row.getBytes("bin"));
      assertEquals("2025-03-01", row.getDate("day").toString());
      assertEquals(moment, row.getTimestamp("ts"));
      assertEquals("2025-03-01 12:34:56.789", row.getString("ts"));
      assertEquals(moment, row.getTimestamp("tz"));
      assertFalse(row.next());
    }
  }

  @Test
  @DisplayName("binds NULL for every type")
  void bindsNull() throws SQLException {
    String name = Server.freshName();
    Server.update(connection, "CREATE TABLE " + name + " (id BIGINT, s TEXT, d DECIMAL(10, 2), day DATE, ts TIMESTAMP(3))");
    try (PreparedStatement insert = connection.prepareStatement("INSERT INTO " + name + " VALUES (?, ?, ?, ?, ?)")) {
      insert.setNull(1, Types.BIGINT);
      insert.setNull(2, Types.VARCHAR);
      insert.setNull(3, Types.DECIMAL);
      insert.setNull(4, Types.DATE);
      insert.setNull(5, Types.TIMESTAMP);
      assertEquals(1, insert.executeUpdate());
    }
    try (Statement statement = connection.createStatement();
        ResultSet row = statement.executeQuery("SELECT * FROM " + name)) {
      assertTrue(row.next());
      for (int column = 1; column <= 5; column++) {
        assertNull(row.getObject(column));
        assertTrue(row.wasNull());
      }
      assertEquals(0, row.getLong(1));
      assertTrue(row.wasNull());
    }
  }

  @Test
  @DisplayName("queries with parameters, prepared once and run with other values")
  void preparedQueryRunsAgain() throws SQLException {
    String name = loadedTable();
    try (PreparedStatement query =
        connection.prepareStatement("SELECT count(*) FROM " + name + " WHERE ts >= ? AND symbol = ?")) {
      for (int hour : new int[] {0, 12, 23}) {
        query.setTimestamp(1, Timestamp.from(DAY.plusSeconds(3600L * hour)));
        query.setString(2, "AAPL");
        try (ResultSet rows = query.executeQuery()) {
          assertTrue(rows.next());
          assertEquals(24 - hour, rows.getLong(1));
        }
      }
    }
  }

  @Test
  @DisplayName("executeBatch sends many rows as one append")
  void batch() throws SQLException {
    String name = Server.pricesTable(connection);
    try (PreparedStatement insert = connection.prepareStatement("INSERT INTO " + name + " VALUES (?, ?, ?)")) {
      for (int hour = 0; hour < 24; hour++) {
        insert.setTimestamp(1, Timestamp.from(DAY.plusSeconds(3600L * hour)));
        insert.setString(2, "AAPL");
        insert.setDouble(3, 100 + hour);
        insert.addBatch();
      }
      int sum = 0;
      for (int count : insert.executeBatch()) {
        sum += count;
      }
      assertEquals(24, sum);
    }
    assertEquals(24, Server.count(connection, name));
  }

  @Test
  @DisplayName("an INSERT over rows that are there is refused, and the error carries the facts")
  void overlapOnInsert() throws Exception {
    String name = loadedTable();
    String again = "INSERT INTO " + name + " VALUES (TIMESTAMP '2025-03-01T05:30:00Z', 'AAPL', 1.0)";
    SQLException refused = assertThrows(SQLException.class, () -> Server.update(connection, again));
    assertTrue(refused.getMessage().contains("symbol=\"AAPL\""), refused.getMessage());
    var metadata = status(refused).metadata();
    assertEquals("COVERAGE_OVERLAP", metadata.get("x-coverline-error"));
    assertEquals("1", metadata.get("x-coverline-overlap-count"));
    Overlap overlap = Overlap.parse(metadata.getByte("grpc-status-details-bin")).orElseThrow();
    assertEquals(
        new Overlap(name, 1, "symbol=\"AAPL\"", "2025-03-01T05:00:00Z", "2025-03-01T06:00:00Z", 2, Optional.of(false)), overlap);
    assertEquals(24, Server.count(connection, name));
  }

  @Test
  @DisplayName("reads every type that SQL can make")
  void readsTypes() throws SQLException {
    try (Statement statement = connection.createStatement();
        ResultSet row =
            statement.executeQuery(
                "SELECT true AS b, CAST(1 AS TINYINT) AS i8, CAST(-5 AS SMALLINT) AS i16, CAST(7 AS INT) AS i32, 9 AS i64,"
                    + " CAST(40000 AS SMALLINT UNSIGNED) AS u16,"
                    + " CAST(1.5 AS REAL) AS f32, CAST(2.5 AS DOUBLE) AS f64, CAST(1.25 AS DECIMAL(10, 2)) AS d,"
                    + " 'text' AS s, X'00ff' AS bin, DATE '2025-03-01' AS day, TIME '01:02:03' AS t,"
                    + " TIMESTAMP '2025-03-01T01:02:03.456' AS ts,"
                    + " arrow_cast('2025-03-01T01:02:03Z', 'Timestamp(Microsecond, Some(\"UTC\"))') AS tz,"
                    + " [1, 2] AS l, NULL AS n")) {
      assertTrue(row.next());
      assertTrue(row.getBoolean("b"));
      assertEquals(1, row.getInt("i8"));
      assertEquals(-5, row.getInt("i16"));
      assertEquals(7, row.getInt("i32"));
      assertEquals(9L, row.getLong("i64"));
      assertEquals(40_000, row.getLong("u16"));
      assertEquals(1.5f, row.getFloat("f32"));
      assertEquals(2.5, row.getDouble("f64"));
      assertEquals(new BigDecimal("1.25"), row.getBigDecimal("d"));
      assertEquals("text", row.getString("s"));
      assertArrayEquals(new byte[] {0, (byte) 255}, row.getBytes("bin"));
      assertEquals("2025-03-01", row.getDate("day").toString());
      assertEquals("01:02:03", row.getTime("t").toString());
      assertEquals("2025-03-01 01:02:03.456", row.getTimestamp("ts").toString());
      assertEquals(Instant.parse("2025-03-01T01:02:03Z"), row.getTimestamp("tz").toInstant());
      Object[] list = (Object[]) row.getArray("l").getArray();
      assertArrayEquals(new Object[] {1L, 2L}, list);
      assertNull(row.getObject("n"));
      // DBeaver and others show whatever getObject and getString give.
      for (int column = 1; column <= row.getMetaData().getColumnCount(); column++) {
        row.getString(column);
        if (!row.getMetaData().getColumnName(column).equals("tz")) {
          row.getObject(column);
        }
      }
    }
  }

  @Test
  @DisplayName("limit: getObject of a timestamp with a zone is \"not implemented\"; getTimestamp and getString work")
  void objectOfATimestampWithZone() throws SQLException {
    String name = loadedTable();
    try (Statement statement = connection.createStatement();
        ResultSet row = statement.executeQuery("SELECT min(ts) FROM " + name)) {
      assertTrue(row.next());
      assertEquals(Types.TIMESTAMP_WITH_TIMEZONE, row.getMetaData().getColumnType(1));
      assertEquals("not implemented", assertThrows(RuntimeException.class, () -> row.getObject(1)).getMessage());
      assertEquals(DAY, row.getTimestamp(1).toInstant());
    }
  }

  @Test
  @DisplayName("names and types of the result's columns are known before the first row")
  void resultMetadata() throws SQLException {
    String name = loadedTable();
    try (PreparedStatement statement = connection.prepareStatement("SELECT ts, symbol, close AS c FROM " + name)) {
      var before = statement.getMetaData();
      assertEquals(3, before.getColumnCount());
      try (ResultSet rows = statement.executeQuery()) {
        var columns = rows.getMetaData();
        assertEquals("ts", columns.getColumnLabel(1));
        assertEquals("c", columns.getColumnLabel(3));
        assertTrue(
            columns.getColumnType(1) == Types.TIMESTAMP_WITH_TIMEZONE || columns.getColumnType(1) == Types.TIMESTAMP,
            columns.getColumnTypeName(1));
        assertEquals(Types.VARCHAR, columns.getColumnType(2));
        assertEquals(Types.DOUBLE, columns.getColumnType(3));
        assertEquals(before.getColumnType(2), columns.getColumnType(2));
      }
    }
  }

  @Test
  @DisplayName("gaps() and coverage() answer as tables")
  void gapsAndCoverage() throws SQLException {
    String name = loadedTable();
    Server.update(connection, "INSERT INTO " + name + " VALUES (TIMESTAMP '2025-03-02T02:00:00Z', 'AAPL', 1.0)");
    try (Statement statement = connection.createStatement()) {
      try (ResultSet gap = statement.executeQuery("SELECT * FROM gaps('" + name + "')")) {
        assertTrue(gap.next());
        assertEquals("AAPL", gap.getString("symbol"));
        assertEquals(DAY.plusSeconds(86_400), gap.getTimestamp("gap_start").toInstant());
        assertEquals(DAY.plusSeconds(86_400 + 7_200), gap.getTimestamp("gap_end").toInstant());
        assertEquals(2, gap.getLong("missing_buckets"));
        assertFalse(gap.next());
      }
      int runs = 0;
      try (ResultSet covered = statement.executeQuery("SELECT * FROM coverage('" + name + "')")) {
        while (covered.next()) {
          runs++;
        }
      }
      assertEquals(2, runs);
    }
  }

  @Test
  @DisplayName("an empty result has columns and no rows")
  void emptyResult() throws SQLException {
    String name = Server.pricesTable(connection);
    try (PreparedStatement statement = connection.prepareStatement("SELECT * FROM " + name);
        ResultSet rows = statement.executeQuery()) {
      assertEquals(3, rows.getMetaData().getColumnCount());
      assertFalse(rows.next());
    }
  }

  @Test
  @DisplayName("limit: a plain Statement shows each column of an empty result twice; a PreparedStatement does not")
  void emptyResultOfAStatement() throws SQLException {
    try (Statement statement = connection.createStatement();
        ResultSet rows = statement.executeQuery("SELECT 1 AS a, 2 AS b WHERE false")) {
      assertEquals(4, rows.getMetaData().getColumnCount());
      assertFalse(rows.next());
    }
  }

  @Test
  @DisplayName("limit: unsigned integers come out signed from getObject, and those of 8, 32 and 64 bits from getLong; CAST them")
  void unsignedIntegers() throws SQLException {
    try (Statement statement = connection.createStatement();
        ResultSet row =
            statement.executeQuery(
                "SELECT CAST(200 AS TINYINT UNSIGNED), CAST(4000000000 AS INT UNSIGNED),"
                    + " CAST(18446744073709551615 AS BIGINT UNSIGNED),"
                    + " CAST(CAST(4000000000 AS INT UNSIGNED) AS BIGINT) AS signed, CAST(40000 AS SMALLINT UNSIGNED)")) {
      assertTrue(row.next());
      assertEquals(200 - (1 << 8), row.getLong(1));
      assertEquals(4_000_000_000L - (1L << 32), row.getLong(2));
      assertEquals(-1, row.getLong(3));
      assertEquals(4_000_000_000L, row.getLong(4));
      assertEquals((short) (40_000 - (1 << 16)), row.getObject(5));
      assertEquals(40_000, row.getLong(5));
    }
  }

  @Test
  @DisplayName("a result of 300,000 rows arrives whole")
  void largeResult() throws SQLException {
    try (Statement statement = connection.createStatement();
        ResultSet rows = statement.executeQuery("SELECT value FROM generate_series(1, 300000) ORDER BY value")) {
      long expected = 0;
      while (rows.next()) {
        assertEquals(++expected, rows.getLong(1));
      }
      assertEquals(300_000, expected);
    }
  }

  @Test
  @DisplayName("a result that nobody reads to its end can be closed, and the connection goes on")
  void abandonedResult() throws SQLException {
    try (Statement statement = connection.createStatement()) {
      for (int round = 0; round < 5; round++) {
        try (ResultSet rows = statement.executeQuery("SELECT value FROM generate_series(1, 10000000)")) {
          assertTrue(rows.next());
        }
      }
    }
    assertEquals(1, only(connection, "SELECT 1"));
  }

  @Test
  @DisplayName("several statements of one connection are open at once")
  void interleaved() throws SQLException {
    try (Statement a = connection.createStatement();
        Statement b = connection.createStatement();
        ResultSet left = a.executeQuery("SELECT value FROM generate_series(1, 100) ORDER BY value");
        ResultSet right = b.executeQuery("SELECT value FROM generate_series(101, 200) ORDER BY value")) {
      for (int i = 1; i <= 100; i++) {
        assertTrue(left.next() && right.next());
        assertEquals(100, right.getLong(1) - left.getLong(1));
      }
    }
  }

  @Test
  @DisplayName("bad SQL, a missing table and a missing column say what is wrong, and the connection goes on")
  void badSql() throws SQLException {
    String name = Server.pricesTable(connection);
    String[][] cases = {
      {"SELEC 1", "SELEC"},
      {"SELECT * FROM nowhere", "nowhere"},
      {"SELECT nothing_like_it FROM " + name, "nothing_like_it"},
    };
    for (String[] bad : cases) {
      SQLException error =
          assertThrows(
              SQLException.class,
              () -> {
                try (Statement statement = connection.createStatement()) {
                  statement.executeQuery(bad[0]);
                }
              });
      assertTrue(error.getMessage().contains(bad[1]), error.getMessage());
    }
    assertEquals(0, Server.count(connection, name));
  }

  @Test
  @DisplayName("long errors that are not in ASCII keep their code, and an overlap its facts")
  void longErrors() throws SQLException {
    // Java gives up on an answer of much more than 8 KiB of headers. On the wire an é of a message is six bytes.
    String text = "é".repeat(1500);
    SQLException bad = assertThrows(SQLException.class, () -> only(connection, "SELECT \"" + text + "\" FROM (VALUES (1)) t(a)"));
    assertEquals(FlightStatusCode.INVALID_ARGUMENT, status(bad).code(), bad.getMessage());
    assertTrue(status(bad).description().contains("No field named"), status(bad).description());
    String name = Server.pricesTable(connection);
    String insert = "INSERT INTO " + name + " VALUES (TIMESTAMP '2025-03-01T05:30:00Z', '" + text + "', 1.0)";
    assertEquals(1, Server.update(connection, insert));
    SQLException refused = assertThrows(SQLException.class, () -> Server.update(connection, insert));
    assertEquals(FlightStatusCode.ALREADY_EXISTS, status(refused).code(), refused.getMessage());
    assertEquals("COVERAGE_OVERLAP", status(refused).metadata().get("x-coverline-error"));
    assertEquals("1", status(refused).metadata().get("x-coverline-overlap-count"));
    assertEquals(1, Server.count(connection, name));
  }

  @Test
  @DisplayName("an error while the rows are running reaches the reader")
  void errorInMidStream() throws SQLException {
    // Not always a SQLException: the driver lets the unchecked one of Flight through.
    Exception error =
        assertThrows(
            Exception.class,
            () -> {
              try (Statement statement = connection.createStatement();
                  ResultSet rows =
                      statement.executeQuery("SELECT 1 / (value - 200000) AS q FROM generate_series(1, 300000)")) {
                while (rows.next()) {
                  rows.getLong(1);
                }
              }
            });
    String text = error + " " + error.getCause();
    assertTrue(text.contains("Divide by zero"), text);
    assertEquals(1, only(connection, "SELECT 1"));
  }

  @Test
  @DisplayName("a closed connection and a closed statement refuse, and closing twice is fine")
  void closing() throws SQLException {
    Connection other = Server.connect();
    PreparedStatement statement = other.prepareStatement("SELECT 1");
    statement.close();
    statement.close();
    assertThrows(SQLException.class, statement::executeQuery);
    other.close();
    other.close();
    assertTrue(other.isClosed());
    assertThrows(SQLException.class, () -> only(other, "SELECT 1"));
  }

  /** A table with one row for each hour of a day, as version 2. */
  private String loadedTable() throws SQLException {
    String name = Server.pricesTable(connection);
    String rows =
        IntStream.range(0, 24)
            .mapToObj(hour -> "(TIMESTAMP '" + DAY.plusSeconds(3600L * hour) + "', 'AAPL', " + hour + ".5)")
            .collect(Collectors.joining(", "));
    assertEquals(24, Server.update(connection, "INSERT INTO " + name + " VALUES " + rows));
    return name;
  }

  /** What the server answered instead of a result. */
  private static CallStatus status(SQLException error) {
    Throwable cause = error;
    while (cause != null && !(cause instanceof FlightRuntimeException)) {
      cause = cause.getCause();
    }
    assertTrue(cause != null, "a FlightRuntimeException of the driver is the cause");
    return ((FlightRuntimeException) cause).status();
  }

  private static long only(Connection connection, String sql) throws SQLException {
    try (Statement statement = connection.createStatement();
        ResultSet rows = statement.executeQuery(sql)) {
      assertTrue(rows.next());
      return rows.getLong(1);
    }
  }
}
