package coverline.conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.net.URI;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.arrow.flight.Location;

/** The server under test, and tables of a test's own in it. */
final class Server {
  private static final AtomicInteger TABLES = new AtomicInteger();

  private Server() {}

  /** HOST:PORT. A missing one is a failure: a suite that skips itself proves nothing. */
  static String address() {
    return told("COVERLINE_ADDRESS");
  }

  /** HOST:PORT of one that speaks TLS. */
  static String secured() {
    return told("COVERLINE_TLS_ADDRESS");
  }

  /** A file: the authority that vouches for it. */
  static String authority() {
    return told("COVERLINE_TLS_AUTHORITY");
  }

  /** HOST:PORT of one that does, too, and serves only who shows a certificate. */
  static String closed() {
    return told("COVERLINE_MTLS_ADDRESS");
  }

  /** A file: the certificate that it wants to see. */
  static String certificate() {
    return told("COVERLINE_MTLS_CERTIFICATE");
  }

  /** A file: the key of that certificate. */
  static String key() {
    return told("COVERLINE_MTLS_KEY");
  }

  private static String told(String name) {
    String value = System.getenv(name);
    assertTrue(value != null && !value.isEmpty(), name + " is not set; tests/run java sets it");
    return value;
  }

  static Location location() {
    return new Location(URI.create("grpc://" + address()));
  }

  /** The JDBC URL exactly as {@code coverline demo} prints it. */
  static String jdbcUrl() {
    return "jdbc:arrow-flight-sql://" + address() + "/?useEncryption=false";
  }

  static Connection connect() throws SQLException {
    return DriverManager.getConnection(jdbcUrl());
  }

  static String freshName() {
    return "java_" + ProcessHandle.current().pid() + "_" + TABLES.incrementAndGet();
  }

  /** A new empty table: index {@code ts}, bucket one hour, entity {@code symbol}, value {@code close}. */
  static String pricesTable(Connection connection) throws SQLException {
    String name = freshName();
    update(
        connection,
        "CREATE TABLE " + name
            + " (ts TIMESTAMP(6) WITH TIME ZONE NOT NULL, symbol TEXT NOT NULL, close DOUBLE)"
            + " WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')");
    return name;
  }

  /** Runs a statement that gives no rows; the rows that it changed. */
  static int update(Connection connection, String sql) throws SQLException {
    try (Statement statement = connection.createStatement()) {
      return statement.executeUpdate(sql);
    }
  }

  static long count(Connection connection, String table) throws SQLException {
    try (var statement = connection.createStatement();
        var rows = statement.executeQuery("SELECT count(*) FROM " + table)) {
      assertTrue(rows.next());
      long count = rows.getLong(1);
      assertEquals(false, rows.next());
      return count;
    }
  }
}
