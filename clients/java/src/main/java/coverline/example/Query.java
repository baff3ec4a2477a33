package coverline.example;

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Timestamp;
import java.time.Instant;
import java.util.Calendar;
import java.util.TimeZone;

/**
 * Asks by JDBC what a table holds since some moment, and what is missing in it.
 *
 * <pre>Query jdbc:arrow-flight-sql://HOST:PORT/?useEncryption=false TABLE SINCE</pre>
 */
public final class Query {
  private Query() {}

  public static void main(String[] args) throws SQLException {
    if (args.length != 3) {
      System.err.println("usage: Query jdbc:arrow-flight-sql://HOST:PORT/?useEncryption=false TABLE SINCE");
      System.exit(2);
    }
    String table = args[1];
    try (Connection connection = DriverManager.getConnection(args[0])) {
      held(connection, table, Instant.parse(args[2]));
      missing(connection, table);
    }
  }

  private static void held(Connection connection, String table, Instant since) throws SQLException {
    String sql =
        "SELECT symbol, min(ts), max(ts), count(*) FROM %s WHERE ts >= ? GROUP BY symbol ORDER BY symbol"
            .formatted(Prices.quoted(table));
    try (PreparedStatement statement = connection.prepareStatement(sql)) {
      // With a calendar, and with Instant below: setTimestamp and getTimestamp alone go by the zone of the JVM.
      statement.setTimestamp(1, Timestamp.from(since), Calendar.getInstance(TimeZone.getTimeZone("UTC")));
      try (ResultSet rows = statement.executeQuery()) {
        while (rows.next()) {
          System.out.printf(
              "%s: %s to %s, %d rows%n",
              rows.getString(1),
              rows.getObject(2, Instant.class),
              rows.getObject(3, Instant.class),
              rows.getLong(4));
        }
      }
    }
  }

  private static void missing(Connection connection, String table) throws SQLException {
    // The argument of a table function is part of the plan, so it is text of the statement and no parameter.
    String sql =
        "SELECT symbol, gap_start, gap_end, missing_buckets FROM gaps('%s') ORDER BY symbol, gap_start"
            .formatted(table.replace("'", "''"));
    try (PreparedStatement statement = connection.prepareStatement(sql);
        ResultSet rows = statement.executeQuery()) {
      while (rows.next()) {
        System.out.printf(
            "%s: nothing from %s to %s, %d buckets%n",
            rows.getString("symbol"),
            rows.getObject("gap_start", Instant.class),
            rows.getObject("gap_end", Instant.class),
            rows.getLong("missing_buckets"));
      }
    }
  }
}
