package coverline.conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;

/** What DBeaver, Tableau and others ask before they show anything. */
@DisplayName("Flight SQL JDBC driver: DatabaseMetaData")
class JdbcMetadataTest {
  private Connection connection;
  private DatabaseMetaData metadata;
  private String table;

  @BeforeEach
  void connect() throws SQLException {
    connection = Server.connect();
    metadata = connection.getMetaData();
    table = Server.pricesTable(connection);
  }

  @AfterEach
  void close() throws SQLException {
    connection.close();
  }

  /** Methods that the driver has not written yet, whatever the server. */
  private static final Set<String> UNFINISHED_IN_THE_DRIVER =
      Set.of(
          "deletesAreDetected",
          "insertsAreDetected",
          "updatesAreDetected",
          "othersDeletesAreVisible",
          "othersInsertsAreVisible",
          "othersUpdatesAreVisible",
          "ownDeletesAreVisible",
          "ownInsertsAreVisible",
          "ownUpdatesAreVisible",
          "supportsResultSetHoldability");

  @Test
  @DisplayName("every method of DatabaseMetaData that the driver has answers")
  void everyMethodAnswers() throws Exception {
    var failures = new ArrayList<String>();
    int answered = 0;
    Method[] methods = DatabaseMetaData.class.getDeclaredMethods();
    Arrays.sort(methods, Comparator.comparing(Method::toString));
    for (Method method : methods) {
      if (UNFINISHED_IN_THE_DRIVER.contains(method.getName())) {
        continue;
      }
      Object[] arguments = Arrays.stream(method.getParameterTypes()).map(type -> argument(method, type)).toArray();
      try {
        if (method.invoke(metadata, arguments) instanceof ResultSet answer) {
          rows(answer);
        }
        answered++;
      } catch (InvocationTargetException thrown) {
        failures.add(method.getName() + ": " + thrown.getCause());
      }
    }
    assertEquals(List.of(), failures);
    assertTrue(answered >= 160, "only " + answered + " methods were tried");
  }

  private Object argument(Method method, Class<?> type) {
    if (type == int.class) {
      return method.getName().startsWith("supportsResultSet") ? ResultSet.TYPE_FORWARD_ONLY : 0;
    }
    if (type == boolean.class) {
      return true;
    }
    if (type == Class.class) {
      return DatabaseMetaData.class;
    }
    boolean needsTable = method.getName().endsWith("Keys") || method.getName().equals("getCrossReference");
    return type == String.class && needsTable ? table : null;
  }

  @Test
  @DisplayName("limit: ten methods on visibility and holdability throw \"todo: implement this method\" in the driver")
  void unfinishedMethods() throws Exception {
    for (String name : UNFINISHED_IN_THE_DRIVER) {
      Method method = DatabaseMetaData.class.getMethod(name, int.class);
      var thrown = assertThrows(InvocationTargetException.class, () -> method.invoke(metadata, 1003), name);
      assertTrue(thrown.getCause().getMessage().contains("todo: implement"), name + ": " + thrown.getCause());
    }
  }

  @Test
  @DisplayName("says what it is")
  void product() throws SQLException {
    assertEquals("Coverline", metadata.getDatabaseProductName());
    assertTrue(metadata.getDatabaseProductVersion().matches("\\d+\\.\\d+\\.\\d+.*"), metadata.getDatabaseProductVersion());
    assertEquals("\"", metadata.getIdentifierQuoteString());
    assertTrue(metadata.getSQLKeywords() != null && metadata.getNumericFunctions().contains("abs"));
    assertFalse(metadata.supportsTransactions());
    assertFalse(metadata.isReadOnly());
  }

  @Test
  @DisplayName("lists catalogs, schemas and table types")
  void catalogsAndSchemas() throws SQLException {
    assertTrue(column(metadata.getCatalogs(), "TABLE_CAT").contains("coverline"));
    assertTrue(column(metadata.getSchemas(), "TABLE_SCHEM").contains("public"));
    assertEquals(List.of("public"), column(metadata.getSchemas("coverline", "pub%"), "TABLE_SCHEM"));
    assertEquals(List.of(), column(metadata.getSchemas("nowhere", null), "TABLE_SCHEM"));
    assertFalse(column(metadata.getTableTypes(), "TABLE_TYPE").isEmpty());
  }

  @Test
  @DisplayName("finds tables by exact name, by pattern and by type, and nothing else")
  void tables() throws SQLException {
    List<Map<String, Object>> found = rows(metadata.getTables("coverline", "public", table, new String[] {"TABLE"}));
    assertEquals(1, found.size());
    assertEquals("coverline", found.get(0).get("TABLE_CAT"));
    assertEquals("public", found.get(0).get("TABLE_SCHEM"));
    assertEquals(table, found.get(0).get("TABLE_NAME"));
    assertTrue(column(metadata.getTables(null, null, "java\\_%", null), "TABLE_NAME").contains(table));
    assertTrue(column(metadata.getTables(null, null, "%", null), "TABLE_NAME").contains(table));
    assertEquals(List.of(), column(metadata.getTables(null, "nowhere", "%", null), "TABLE_NAME"));
    assertEquals(List.of(), column(metadata.getTables(null, null, table, new String[] {"VIEW"}), "TABLE_NAME"));
  }

  @Test
  @DisplayName("lists columns in order, with types a tool can show")
  void columns() throws SQLException {
    List<Map<String, Object>> found = rows(metadata.getColumns("coverline", "public", table, "%"));
    assertEquals(List.of("ts", "symbol", "close"), found.stream().map(row -> row.get("COLUMN_NAME")).toList());
    assertEquals(List.of(1, 2, 3), found.stream().map(row -> row.get("ORDINAL_POSITION")).toList());
    assertEquals(List.of("NO", "NO", "YES"), found.stream().map(row -> row.get("IS_NULLABLE")).toList());
    for (Map<String, Object> row : found) {
      assertTrue(row.get("TYPE_NAME") != null && !row.get("TYPE_NAME").toString().isEmpty(), row.toString());
    }
    assertEquals(java.sql.Types.VARCHAR, found.get(1).get("DATA_TYPE"));
    assertEquals(java.sql.Types.DOUBLE, found.get(2).get("DATA_TYPE"));
    assertEquals(1, rows(metadata.getColumns(null, null, table, "clo%")).size());
  }

  @Test
  @DisplayName("keys and indexes answer, empty where there are none")
  void keys() throws SQLException {
    rows(metadata.getPrimaryKeys("coverline", "public", table));
    assertEquals(List.of(), rows(metadata.getImportedKeys("coverline", "public", table)));
    assertEquals(List.of(), rows(metadata.getExportedKeys("coverline", "public", table)));
    assertEquals(List.of(), rows(metadata.getCrossReference(null, null, table, null, null, table)));
    assertEquals(List.of(), rows(metadata.getIndexInfo("coverline", "public", table, false, true)));
  }

  @Test
  @DisplayName("limit: getTypeInfo() is empty, because the driver does not ask for GetXdbcTypeInfo")
  void typeInfo() throws SQLException {
    assertEquals(List.of(), rows(metadata.getTypeInfo()));
  }

  @Test
  @DisplayName("a new table shows on another connection at once, a dropped one is gone")
  void visibility() throws SQLException {
    try (Connection other = Server.connect()) {
      assertEquals(List.of(table), column(other.getMetaData().getTables(null, null, table, null), "TABLE_NAME"));
      Server.update(connection, "DROP TABLE " + table);
      assertEquals(List.of(), column(other.getMetaData().getTables(null, null, table, null), "TABLE_NAME"));
    }
  }

  @Test
  @DisplayName("information_schema shows the same table")
  void informationSchema() throws SQLException {
    try (var statement =
        connection.prepareStatement(
            "SELECT column_name FROM information_schema.columns WHERE table_name = ? ORDER BY ordinal_position")) {
      statement.setString(1, table);
      assertEquals(List.of("ts", "symbol", "close"), column(statement.executeQuery(), "column_name"));
    }
  }

  private static List<Object> column(ResultSet rows, String name) throws SQLException {
    return rows(rows).stream().map(row -> row.get(name)).toList();
  }

  private static List<Map<String, Object>> rows(ResultSet rows) throws SQLException {
    try (rows) {
      var all = new ArrayList<Map<String, Object>>();
      var columns = rows.getMetaData();
      while (rows.next()) {
        var row = new LinkedHashMap<String, Object>();
        for (int i = 1; i <= columns.getColumnCount(); i++) {
          row.put(columns.getColumnLabel(i), rows.getObject(i));
        }
        all.add(row);
      }
      return all;
    }
  }
}
