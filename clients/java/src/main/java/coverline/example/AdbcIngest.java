package coverline.example;

import java.io.BufferedReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.apache.arrow.adbc.core.AdbcConnection;
import org.apache.arrow.adbc.core.AdbcDatabase;
import org.apache.arrow.adbc.core.AdbcDriver;
import org.apache.arrow.adbc.core.AdbcException;
import org.apache.arrow.adbc.core.AdbcStatement;
import org.apache.arrow.adbc.core.BulkIngestMode;
import org.apache.arrow.adbc.driver.flightsql.FlightSqlDriver;
import org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.memory.RootAllocator;
import org.apache.arrow.vector.VectorSchemaRoot;

/**
 * Appends CSV files of hourly prices to a table by ADBC, each as one version. Run it twice: the second time every file is refused
 * as already loaded, and the table stays as it is. The driver sends a file as one batch of parameters, of which the server takes
 * 100,000 rows: for larger files take {@code Ingest}.
 *
 * <pre>AdbcIngest grpc://HOST:PORT TABLE FILE.csv...</pre>
 */
public final class AdbcIngest {
  private AdbcIngest() {}

  public static void main(String[] args) throws Exception {
    if (args.length < 3) {
      System.err.println("usage: AdbcIngest grpc://HOST:PORT TABLE FILE.csv...");
      System.exit(2);
    }
    String table = args[1];
    Map<String, Object> options = new HashMap<>();
    AdbcDriver.PARAM_URI.set(options, args[0]);
    try (BufferAllocator allocator = new RootAllocator();
        AdbcDatabase database = new FlightSqlDriver(allocator).open(options);
        AdbcConnection connection = database.connect()) {
      try (AdbcStatement statement = connection.createStatement()) {
        statement.setSqlQuery(Prices.createTable(table));
        statement.executeUpdate();
      }
      for (String name : List.of(args).subList(2, args.length)) {
        Path file = Path.of(name);
        try {
          System.out.printf("%s: %d rows%n", file.getFileName(), append(connection, allocator, table, file));
        } catch (AdbcException error) {
          Optional<Overlap> refused = overlap(error);
          if (refused.isEmpty()) {
            throw error;
          }
          System.out.printf("%s: %s%n", file.getFileName(), refused.get());
        }
      }
    }
  }

  /** Sends one file as one append: all of it becomes one version, or nothing does. */
  private static long append(AdbcConnection connection, BufferAllocator allocator, String table, Path file) throws Exception {
    // This driver makes an INSERT of it, with the name as it is given here and the batch as parameters.
    try (AdbcStatement statement = connection.bulkIngest(Prices.quoted(table), BulkIngestMode.APPEND);
        VectorSchemaRoot batch = VectorSchemaRoot.create(Prices.SCHEMA, allocator);
        BufferedReader lines = Files.newBufferedReader(file)) {
      lines.readLine(); // the header
      // Whole: each batch would be an append of its own.
      Prices.fill(batch, lines, Integer.MAX_VALUE);
      statement.bind(batch);
      return statement.executeUpdate().getAffectedRows();
    }
  }

  /** The overlap that an error reports among its details, which are the headers of the answer. */
  private static Optional<Overlap> overlap(AdbcException error) {
    return error.getDetails().stream()
        .filter(detail -> detail.getKey().equals(Overlap.DETAILS))
        .findFirst()
        .flatMap(detail -> Overlap.parse((byte[]) detail.getValue()));
  }
}
