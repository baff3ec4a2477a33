package coverline.example;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.sql.Types;
import java.time.Instant;
import java.util.Arrays;
import java.util.Calendar;
import java.util.List;
import java.util.Optional;
import java.util.TimeZone;
import org.apache.arrow.driver.jdbc.shaded.org.apache.arrow.flight.FlightRuntimeException;

/**
 * Appends CSV files of hourly prices to a table by JDBC, each as one version. Run it twice: the second time every file is refused
 * as already loaded, and the table stays as it is. The driver binds milliseconds, and the server
 * takes 100,000 rows of parameters: for finer moments and larger files take {@link Ingest}.
 *
 * <pre>JdbcIngest jdbc:arrow-flight-sql://HOST:PORT/?useEncryption=false TABLE FILE.csv...</pre>
 */
public final class JdbcIngest {
  private JdbcIngest() {}

  public static void main(String[] args) throws SQLException, IOException {
    if (args.length < 3) {
      System.err.println("usage: JdbcIngest jdbc:arrow-flight-sql://HOST:PORT/?useEncryption=false TABLE FILE.csv...");
      System.exit(2);
    }
    String table = args[1];
    try (Connection connection = DriverManager.getConnection(args[0])) {
      try (Statement statement = connection.createStatement()) {
        statement.executeUpdate(Prices.createTable(table));
      }
      for (String name : List.of(args).subList(2, args.length)) {
        Path file = Path.of(name);
        try {
          System.out.printf("%s: %d rows%n", file.getFileName(), append(connection, table, file));
        } catch (SQLException error) {
          Optional<Overlap> refused = overlap(error);
          if (refused.isEmpty()) {
            throw error;
          }
          System.out.printf("%s: %s%n", file.getFileName(), refused.get());
        }
      }
    }
  }

  /** Sends the rows of one file as one batch, which is one append: all of them become one version, or none does. */
  private static int append(Connection connection, String table, Path file) throws SQLException, IOException {
    // Without it setTimestamp goes by the zone of the JVM.
    Calendar utc = Calendar.getInstance(TimeZone.getTimeZone("UTC"));
    String sql = "INSERT INTO %s (ts, symbol, close) VALUES (?, ?, ?)".formatted(Prices.quoted(table));
    try (PreparedStatement insert = connection.prepareStatement(sql);
        BufferedReader lines = Files.newBufferedReader(file)) {
      lines.readLine(); // the header
      for (String line; (line = lines.readLine()) != null; ) {
        String[] cells = line.split(",", -1);
        insert.setTimestamp(1, Timestamp.from(Instant.parse(cells[0])), utc);
        insert.setString(2, cells[1]);
        if (cells[2].isEmpty()) {
          insert.setNull(3, Types.DOUBLE);
        } else {
          insert.setDouble(3, Double.parseDouble(cells[2]));
        }
        insert.addBatch();
      }
      return Arrays.stream(insert.executeBatch()).sum();
    }
  }

  /** The overlap that an error of the driver reports. The driver has copies of the classes of Flight, with names of their own. */
  private static Optional<Overlap> overlap(SQLException error) {
    for (Throwable cause = error; cause != null; cause = cause.getCause()) {
      if (cause instanceof FlightRuntimeException flight
          && flight.status().metadata() != null
          && flight.status().metadata().containsKey(Overlap.DETAILS)) {
        return Overlap.parse(flight.status().metadata().getByte(Overlap.DETAILS));
      }
    }
    return Optional.empty();
  }
}
