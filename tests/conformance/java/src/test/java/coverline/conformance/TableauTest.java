package coverline.conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Types;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import org.apache.arrow.driver.jdbc.shaded.org.apache.arrow.flight.FlightRuntimeException;
import org.apache.arrow.driver.jdbc.shaded.org.apache.arrow.flight.FlightStatusCode;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What Tableau asks of a JDBC source of which it knows nothing: what is there, what SQL it takes, then the sheets. */
@DisplayName("Flight SQL JDBC driver: the calls of Tableau")
class TableauTest {
  private Connection connection;
  private String table;

  @BeforeEach
  void connect() throws SQLException {
    Properties properties = new Properties();
    properties.put("user", "somebody");
    properties.put("password", "secret");
    connection = DriverManager.getConnection(Server.jdbcUrl(), properties);
    table = Server.pricesTable(connection);
    Server.update(
        connection,
        "INSERT INTO " + table + " VALUES ('2025-03-01T05:00:00Z', 'AAPL', 1.5), ('2025-03-02T06:00:00Z', 'AAPL', 2.5),"
            + " ('2025-03-02T06:00:00Z', 'NVDA', 10)");
  }

  @AfterEach
  void close() throws SQLException {
    connection.close();
  }

  @Test
  @DisplayName("goes down from the catalogs to the columns of a table, and asks for its keys")
  void enumerates() throws SQLException {
    DatabaseMetaData metadata = connection.getMetaData();
    assertEquals("\"", metadata.getIdentifierQuoteString());
    assertEquals(List.of("coverline"), column(metadata.getCatalogs(), "TABLE_CAT"));
    assertTrue(column(metadata.getSchemas("coverline", null), "TABLE_SCHEM").contains("public"));
    String[] kinds = {"ALIAS", "TABLE", "SYNONYM", "VIEW", "MATERIALIZED VIEW", "FOREIGN TABLE"};
    assertTrue(column(metadata.getTables("coverline", "public", "%", kinds), "TABLE_NAME").contains(table));
    assertTrue(column(metadata.getTables(null, null, table, null), "TABLE_NAME").contains(table));
    assertEquals(List.of("ts", "symbol", "close"), column(metadata.getColumns("coverline", "public", table, "%"), "COLUMN_NAME"));
    assertEquals(List.of(), column(metadata.getPrimaryKeys("coverline", "public", table), "COLUMN_NAME"));
    assertEquals(List.of(), column(metadata.getImportedKeys("coverline", "public", table), "FKCOLUMN_NAME"));
  }

  @ParameterizedTest(name = "{0} tells the columns of a table without its rows")
  @ValueSource(strings = {"WHERE 1=0", "LIMIT 0"})
  void looksAtColumns(String without) throws SQLException {
    String sql = "SELECT * FROM \"coverline\".\"public\".\"" + table + "\" " + without;
    try (var statement = connection.prepareStatement(sql);
        ResultSet rows = statement.executeQuery()) {
      for (ResultSetMetaData columns : new ResultSetMetaData[] {statement.getMetaData(), rows.getMetaData()}) {
        assertEquals(3, columns.getColumnCount());
        assertEquals("close", columns.getColumnLabel(3));
        assertEquals(Types.DOUBLE, columns.getColumnType(3));
      }
      assertFalse(rows.next());
    }
  }

  @ParameterizedTest(name = "a probe that is not served is refused, and the connection goes on: {0}")
  @ValueSource(
      strings = {
        "SELECT TOP 1 * FROM \"%s\"",
        "CREATE LOCAL TEMPORARY TABLE \"#Tableau_1_1_Connect\" (\"COL\" INTEGER)",
        "CREATE GLOBAL TEMPORARY TABLE \"#Tableau_1_2_Connect\" (\"COL\" INTEGER) ON COMMIT PRESERVE ROWS",
        "SELECT * INTO \"#Tableau_1_3_Connect\" FROM \"%s\""
      })
  void isRefused(String probe) throws SQLException {
    String sql = String.format(probe, table);
    try (var statement = connection.createStatement()) {
      SQLException refused = assertThrows(SQLException.class, () -> statement.execute(sql));
      assertEquals(FlightStatusCode.UNIMPLEMENTED, code(refused), refused.getMessage());
    }
    assertEquals(3, Server.count(connection, table));
  }

  @Test
  @DisplayName("the probe for FETCH FIRST is served")
  void fetchesTheFirstRows() throws SQLException {
    String sql = String.format("SELECT * FROM \"%s\" FETCH FIRST 1 ROWS ONLY", table);
    try (var statement = connection.createStatement();
        ResultSet rows = statement.executeQuery(sql)) {
      assertTrue(rows.next());
      assertFalse(rows.next());
    }
  }

  @Test
  @DisplayName("groups, filters, joins and bins as its sheets do")
  void fillsSheets() throws SQLException {
    String from = " FROM \"public\".\"" + table + "\" \"" + table + "\" ";
    String one = "\"" + table + "\".";
    assertEquals(
        List.of("AAPL|4.0", "NVDA|10.0"),
        rows("SELECT " + one + "\"symbol\" AS \"symbol\", SUM(" + one + "\"close\") AS \"sum:close:ok\"" + from + "GROUP BY 1 ORDER BY 1 ASC"));
    assertEquals(
        List.of("2025|3"),
        rows("SELECT CAST(EXTRACT(YEAR FROM " + one + "\"ts\") AS INTEGER) AS \"yr:ts:ok\", COUNT(1) AS \"cnt\"" + from + "GROUP BY 1"));
    assertEquals(
        List.of("1", "2"),
        rows("SELECT SUM(1) AS \"TEMP(n)(1)(0)\"" + from + "GROUP BY DATE_TRUNC('DAY', " + one + "\"ts\") ORDER BY 1"));
    assertEquals(
        List.of("1.5|10.0"),
        rows("SELECT MIN(" + one + "\"close\") AS \"low\", MAX(" + one + "\"close\") AS \"high\"" + from + "HAVING (COUNT(1) > 0)"));
    assertEquals(
        List.of("NVDA"),
        rows(
            "SELECT " + one + "\"symbol\" AS \"symbol\"" + from
                + "INNER JOIN (SELECT \"symbol\" AS \"s\", SUM(\"close\") AS \"n\" FROM \"public\".\"" + table
                + "\" GROUP BY 1 ORDER BY 2 DESC LIMIT 1) \"t0\" ON (" + one + "\"symbol\" IS NOT DISTINCT FROM \"t0\".\"s\") GROUP BY 1"));
    assertEquals(
        List.of("2"),
        rows(
            "SELECT COUNT(DISTINCT " + one + "\"symbol\") AS \"n\"" + from + "WHERE ((" + one + "\"ts\" >= TIMESTAMP '2025-03-02 00:00:00')"
                + " AND (" + one + "\"symbol\" IN ('AAPL', 'NVDA')) AND (NOT (" + one + "\"close\" IS NULL)))"));
  }

  private static FlightStatusCode code(Throwable error) {
    Throwable cause = error;
    while (cause != null && !(cause instanceof FlightRuntimeException)) {
      cause = cause.getCause();
    }
    assertTrue(cause != null, "a FlightRuntimeException of the driver is the cause");
    return ((FlightRuntimeException) cause).status().code();
  }

  private List<String> rows(String sql) throws SQLException {
    List<String> found = new ArrayList<>();
    try (var statement = connection.createStatement();
        ResultSet rows = statement.executeQuery(sql)) {
      int columns = rows.getMetaData().getColumnCount();
      while (rows.next()) {
        List<String> row = new ArrayList<>();
        for (int i = 1; i <= columns; i++) {
          row.add(rows.getString(i));
        }
        found.add(String.join("|", row));
      }
    }
    return found;
  }

  private static List<String> column(ResultSet rows, String name) throws SQLException {
    List<String> found = new ArrayList<>();
    try (rows) {
      while (rows.next()) {
        found.add(rows.getString(name));
      }
    }
    return found;
  }
}
