package coverline.conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.sql.Array;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.time.Instant;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;

/** A column of every type that tables store, read back. */
@DisplayName("Flight SQL JDBC driver: stored types")
class JdbcTypesTest {
  /**
   * A type as arrow_cast calls it, "" for a value that is of its type already; a value in SQL; and what {@link #value} makes of the
   * column. Unsigned integers are read as what they have to be cast to, see JdbcTest.
   */
  private static final String[][] STORED = {
    {"Int8", "'-128'", "-128"},
    {"Int16", "'-32768'", "-32768"},
    {"Int32", "'-2147483648'", "-2147483648"},
    {"Int64", "'-9223372036854775808'", "-9223372036854775808"},
    {"UInt8", "'255'", "255"},
    {"UInt16", "'65535'", "65535"},
    {"UInt32", "'4294967295'", "4294967295"},
    {"UInt64", "'18446744073709551615'", "18446744073709551615"},
    {"Float32", "1.5", "1.5"},
    {"Float64", "-2.25", "-2.25"},
    {"Decimal128(20, 4)", "'-12345678901234.5678'", "-12345678901234.5678"},
    {
      "Decimal256(50, 2)",
      "'-1234567890123456789012345678901234567890123.45'",
      "-1234567890123456789012345678901234567890123.45"
    },
    {"Utf8", "'naïve'", "naïve"},
    {"Binary", "X'00ff'", "00ff"},
    {"FixedSizeBinary(3)", "X'00ff10'", "00ff10"},
    {"Boolean", "true", "true"},
    {"Date32", "'2025-03-01'", "2025-03-01"},
    {"Date64", "'2025-03-01'", "2025-03-01"},
    {"Time32(Second)", "'01:02:03'", "01:02:03"},
    {"Time32(Millisecond)", "'01:02:03.004'", "01:02:03.004"},
    {"Time64(Microsecond)", "'01:02:03.004'", "01:02:03.004"},
    {"Time64(Nanosecond)", "'01:02:03.004'", "01:02:03.004"},
    {"Timestamp(Second, None)", "'2025-03-01T01:02:03'", "2025-03-01 01:02:03.0"},
    {"Timestamp(Millisecond, None)", "'2025-03-01T01:02:03.004'", "2025-03-01 01:02:03.004"},
    {"Timestamp(Microsecond, None)", "'2025-03-01T01:02:03.000005'", "2025-03-01 01:02:03.000005"},
    {"Timestamp(Nanosecond, None)", "'2025-03-01T01:02:03.000000006'", "2025-03-01 01:02:03.000000006"},
    {"Timestamp(Second, Some(\"UTC\"))", "'2025-03-01T01:02:03Z'", "2025-03-01T01:02:03Z"},
    {"Timestamp(Millisecond, Some(\"UTC\"))", "'2025-03-01T01:02:03.004Z'", "2025-03-01T01:02:03.004Z"},
    {"Timestamp(Microsecond, Some(\"UTC\"))", "'2025-03-01T01:02:03.000005Z'", "2025-03-01T01:02:03.000005Z"},
    {"Timestamp(Nanosecond, Some(\"+05:30\"))", "'2025-03-01T01:02:03.000000006Z'", "2025-03-01T01:02:03.000000006Z"},
    {"Duration(Second)", "90061", "PT25H1M1S"},
    {"Duration(Millisecond)", "90061", "PT1M30.061S"},
    {"Duration(Microsecond)", "90061", "PT0.090061S"},
    {"Duration(Nanosecond)", "90061", "PT0.000090061S"},
    {"List(Int64)", "[1, NULL]", "[1, null]"},
    {"FixedSizeList(2, Int64)", "[1, 2]", "[1, 2]"},
    {"", "named_struct('x', 1, 'y', 'a')", "{\"x\":1,\"y\":\"a\"}"},
    {"", "MAP {'a': 1, 'b': NULL}", "{\"a\":1,\"b\":null}"},
  };

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
  @DisplayName("reads every type that tables store, and NULL of each")
  void readsStoredTypes() throws SQLException {
    String name = stored(STORED);
    Map<String, String> expected = new LinkedHashMap<>();
    Map<String, String> found = new LinkedHashMap<>();
    try (Statement statement = connection.createStatement()) {
      for (int i = 0; i < STORED.length; i++) {
        String kind = STORED[i][0];
        String column = kind.startsWith("UInt") ? "CAST(v" + i + " AS DECIMAL(20, 0))" : "v" + i;
        String what = kind + " " + STORED[i][1];
        expected.put(what, STORED[i][2]);
        try (ResultSet row = statement.executeQuery("SELECT " + column + " FROM " + name + " ORDER BY id")) {
          assertTrue(row.next(), what);
          found.put(what, value(row, kind));
          assertTrue(row.next(), what);
          assertNull(value(row, kind), what);
          assertTrue(row.wasNull(), what);
          assertFalse(row.next(), what);
        }
      }
    }
    assertEquals(expected, found);
  }

  @Test
  @DisplayName("limit: times of day are read to the millisecond; CAST them to TEXT for more")
  void timesOfDay() throws SQLException {
    String[][] cases = {
      {"Time64(Microsecond)", "'01:02:03.004005'", "01:02:03.004005"},
      {"Time64(Nanosecond)", "'01:02:03.004005006'", "01:02:03.004005006"},
    };
    String name = stored(cases);
    try (Statement statement = connection.createStatement();
        ResultSet row = statement.executeQuery("SELECT v0, CAST(v0 AS TEXT) AS t0, v1, CAST(v1 AS TEXT) AS t1 FROM " + name + " ORDER BY id")) {
      assertTrue(row.next());
      for (int i = 0; i < cases.length; i++) {
        assertEquals("01:02:03.004", row.getString(2 * i + 1));
        assertEquals(4, row.getTime(2 * i + 1).getTime() % 1000);
        assertEquals(cases[i][2], row.getString(2 * i + 2));
      }
    }
  }

  @Test
  @DisplayName("limit: getTimestamp is wrong by the offset of a column's zone that has a name other than UTC; CAST it to TEXT")
  void namedZone() throws SQLException {
    String[][] berlin = {{"Timestamp(Microsecond, Some(\"Europe/Berlin\"))", "'2025-03-01T01:02:03Z'"}};
    String name = stored(berlin);
    try (Statement statement = connection.createStatement();
        ResultSet row = statement.executeQuery("SELECT v0, CAST(v0 AS TEXT) AS t0 FROM " + name + " ORDER BY id")) {
      assertTrue(row.next());
      // Berlin's clock showed 02:02:03 then.
      assertEquals(Instant.parse("2025-03-01T03:02:03Z"), row.getTimestamp(1).toInstant());
      assertEquals("2025-03-01 02:02:03.0", row.getString(1));
      assertEquals("2025-03-01T02:02:03+01:00", row.getString(2));
    }
  }

  @Test
  @DisplayName("limit: setTimestamp and getTimestamp are wrong by the offset of the JVM's zone; run it with -Duser.timezone=UTC")
  void zoneOfTheJvm() throws Exception {
    String name = Server.pricesTable(connection);
    // In a JVM of its own: the driver and Java keep what they have learnt of their zone.
    Process newYork =
        new ProcessBuilder(
                ProcessHandle.current().info().command().orElseThrow(),
                "--add-opens=java.base/java.nio=ALL-UNNAMED",
                "-Duser.timezone=America/New_York",
                "-cp",
                System.getProperty("java.class.path"),
                InNewYork.class.getName(),
                name)
            .redirectError(ProcessBuilder.Redirect.DISCARD)
            .start();
    // New York's clock showed 07:34:56 when it was 12:34:56 in UTC, and that was sent. It is wrong by five hours, and twice that when read.
    assertEquals("2025-03-01T07:34:56Z reads as 2025-03-01T17:34:56Z", new String(newYork.getInputStream().readAllBytes()).strip());
    assertEquals(0, newYork.waitFor());
    try (Statement statement = connection.createStatement();
        ResultSet row = statement.executeQuery("SELECT ts FROM " + name)) {
      assertTrue(row.next());
      assertEquals(Instant.parse("2025-03-01T07:34:56Z"), row.getTimestamp(1).toInstant());
    }
  }

  /** Appends a row of 12:34:56 to the table named, and says what is in the table and what reads back. */
  static final class InNewYork {
    private InNewYork() {}

    public static void main(String[] args) throws SQLException {
      try (Connection connection = Server.connect();
          var insert = connection.prepareStatement("INSERT INTO " + args[0] + " VALUES (?, 'AAPL', 1)");
          Statement statement = connection.createStatement()) {
        insert.setTimestamp(1, Timestamp.from(Instant.parse("2025-03-01T12:34:56Z")));
        insert.executeUpdate();
        try (ResultSet row = statement.executeQuery("SELECT ts, CAST(ts AS TEXT) AS t FROM " + args[0])) {
          row.next();
          System.out.println(row.getString("t") + " reads as " + row.getTimestamp("ts").toInstant());
        }
      }
    }
  }

  /** A new table with a column v0, v1, … for each case, of which row 1 has the values and row 2 has none. */
  private String stored(String[][] cases) throws SQLException {
    String name = Server.freshName();
    StringBuilder values = new StringBuilder("SELECT 1 AS id");
    for (int i = 0; i < cases.length; i++) {
      String value = cases[i][0].isEmpty() ? cases[i][1] : "arrow_cast(" + cases[i][1] + ", '" + cases[i][0] + "')";
      values.append(", ").append(value).append(" AS v").append(i);
    }
    Server.update(connection, "CREATE TABLE " + name + " AS " + values + " UNION ALL SELECT 2" + ", NULL".repeat(cases.length));
    return name;
  }

  /** The only column of a row as text: what getObject gives, and getTimestamp where the driver has no getObject. */
  private static String value(ResultSet row, String kind) throws SQLException {
    if (kind.contains("Some(")) {
      Timestamp moment = row.getTimestamp(1);
      return moment == null ? null : moment.toInstant().toString();
    }
    Object value = row.getObject(1);
    if (value instanceof byte[] bytes) {
      return HexFormat.of().formatHex(bytes);
    }
    if (value instanceof Array array) {
      return Arrays.toString((Object[]) array.getArray());
    }
    return value == null ? null : value.toString();
  }
}
