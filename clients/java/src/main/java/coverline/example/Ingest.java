package coverline.example;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.UnknownFieldSet;
import java.io.BufferedReader;
import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import org.apache.arrow.flight.FlightClient;
import org.apache.arrow.flight.FlightDescriptor;
import org.apache.arrow.flight.FlightRuntimeException;
import org.apache.arrow.flight.Location;
import org.apache.arrow.flight.PutResult;
import org.apache.arrow.flight.SyncPutListener;
import org.apache.arrow.flight.sql.FlightSqlClient;
import org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.memory.RootAllocator;
import org.apache.arrow.vector.VectorSchemaRoot;

/**
 * Appends CSV files of hourly prices to a table by a DoPut of Arrow Flight, each as one version. Run it twice: the second time
 * every file is refused as already loaded, and the table stays as it is.
 *
 * <pre>Ingest grpc://HOST:PORT TABLE FILE.csv...</pre>
 */
public final class Ingest {
  private static final int BATCH_ROWS = 65_536;

  /** What the server answers to an append: {@code coverline.flight.v1.AppendReceipt}. */
  private record Receipt(long version, long rows) {
    private static final int ROWS = 1;
    private static final int VERSION = 101;

    static Receipt parse(byte[] message) throws InvalidProtocolBufferException {
      UnknownFieldSet fields = UnknownFieldSet.parseFrom(message);
      return new Receipt(number(fields, VERSION), number(fields, ROWS));
    }

    private static long number(UnknownFieldSet fields, int field) {
      List<Long> values = fields.getField(field).getVarintList();
      return values.isEmpty() ? 0 : values.get(0);
    }
  }

  private Ingest() {}

  public static void main(String[] args) throws Exception {
    if (args.length < 3) {
      System.err.println("usage: Ingest grpc://HOST:PORT TABLE FILE.csv...");
      System.exit(2);
    }
    String table = args[1];
    try (BufferAllocator allocator = new RootAllocator();
        FlightClient flight = FlightClient.builder(allocator, new Location(URI.create(args[0]))).build();
        FlightSqlClient sql = new FlightSqlClient(flight)) {
      sql.executeUpdate(Prices.createTable(table));
      for (String name : List.of(args).subList(2, args.length)) {
        Path file = Path.of(name);
        try {
          Receipt receipt = append(flight, allocator, table, file);
          System.out.printf("%s: version %d, %d rows%n", file.getFileName(), receipt.version(), receipt.rows());
        } catch (FlightRuntimeException | ExecutionException error) {
          Optional<Overlap> refused = Overlap.of(error);
          if (refused.isEmpty()) {
            throw error;
          }
          System.out.printf("%s: %s%n", file.getFileName(), refused.get());
        }
      }
    }
  }

  /** Sends one file as one append: all of it becomes one version, or nothing does. */
  private static Receipt append(FlightClient flight, BufferAllocator allocator, String table, Path file)
      throws IOException, InterruptedException, ExecutionException {
    try (VectorSchemaRoot batch = VectorSchemaRoot.create(Prices.SCHEMA, allocator);
        SyncPutListener answers = new SyncPutListener();
        BufferedReader lines = Files.newBufferedReader(file)) {
      FlightClient.ClientStreamListener stream = flight.startPut(FlightDescriptor.path(table), batch, answers);
      lines.readLine(); // the header
      while (Prices.fill(batch, lines, BATCH_ROWS)) {
        stream.putNext();
      }
      stream.completed();
      try (PutResult answer = answers.read()) {
        if (answer == null) {
          throw new IOException("the server ended the append of " + file + " without a receipt");
        }
        byte[] receipt = new byte[(int) answer.getApplicationMetadata().readableBytes()];
        answer.getApplicationMetadata().readBytes(receipt);
        return Receipt.parse(receipt);
      }
    }
  }
}
