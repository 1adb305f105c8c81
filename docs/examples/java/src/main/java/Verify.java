import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Status.Code;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import sameface.v1.DecisionOuterClass.Decision;
import sameface.v1.DecisionOuterClass.Outcome;
import sameface.v1.FaceOuterClass.Sample;
import sameface.v1.FaceServiceGrpc;
import sameface.v1.FaceServiceOuterClass.EnrollTemplateRequest;
import sameface.v1.FaceServiceOuterClass.VerifyFaceRequest;
import sameface.v1.GalleryServiceGrpc;
import sameface.v1.GalleryServiceOuterClass.CreateGalleryRequest;

/**
 * Enrols one photo and verifies another: Verify ADDRESS GALLERY IDENTITY REFERENCE PROBE
 *
 * <p>The exit codes are those of the command line: 0 match, 1 no match, 2 ambiguous, 3 error.
 */
public final class Verify {
  private static final int MAX_MESSAGE = 36 << 20;
  private static final long DEADLINE_MS = 30_000;

  public static void main(String[] arguments) throws Exception {
    if (arguments.length != 5) {
      System.err.println("usage: Verify ADDRESS GALLERY IDENTITY REFERENCE PROBE");
      System.exit(3);
    }
    ManagedChannel channel =
        ManagedChannelBuilder.forTarget(arguments[0]).usePlaintext().maxInboundMessageSize(MAX_MESSAGE).build();
    int code = 3;
    try {
      Decision decision = enrolAndVerify(channel, arguments[1], arguments[2], arguments[3], arguments[4]);
      String outcome = decision.getOutcome().name().replace("OUTCOME_", "");
      System.out.printf("%s: score %.3f, threshold %.3f%n", outcome, decision.getScore(), decision.getThreshold());
      code = Map.of(Outcome.OUTCOME_MATCH, 0, Outcome.OUTCOME_NO_MATCH, 1, Outcome.OUTCOME_AMBIGUOUS, 2)
          .getOrDefault(decision.getOutcome(), 3);
    } catch (StatusRuntimeException error) {
      System.err.println(reasonOf(error) + ": " + error.getStatus().getDescription());
    } finally {
      channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
    }
    System.exit(code);
  }

  /** Returns the id of an identity as it stands in a name: it may be any text. */
  private static String escaped(String identity) {
    var name = new StringBuilder();
    for (byte b : identity.getBytes(StandardCharsets.UTF_8)) {
      if ("-_.abcdefghijklmnopqrstuvwxyz0123456789".indexOf(b) < 0) name.append(String.format("~%02x", b));
      else name.append((char) b);
    }
    return name.toString();
  }

  private static Decision enrolAndVerify(
      ManagedChannel channel, String gallery, String identity, String reference, String probe) throws IOException {
    var galleries = GalleryServiceGrpc.newBlockingStub(channel);
    var faces = FaceServiceGrpc.newBlockingStub(channel);
    var create =
        CreateGalleryRequest.newBuilder().setGalleryId(gallery).setRequestId(UUID.randomUUID().toString()).build();
    try {
      call(() -> galleries.withDeadlineAfter(DEADLINE_MS, TimeUnit.MILLISECONDS).createGallery(create));
    } catch (StatusRuntimeException error) {
      if (!reasonOf(error).equals("GALLERY_ALREADY_EXISTS")) throw error;
    }
    String name = "galleries/" + gallery + "/identities/" + escaped(identity);
    // Without a request id the service recognises the photo, so a repeat does not enrol it twice.
    var enrol =
        EnrollTemplateRequest.newBuilder().setParent(name).setSample(photo(reference)).setAllowMissing(true).build();
    call(() -> faces.withDeadlineAfter(DEADLINE_MS, TimeUnit.MILLISECONDS).enrollTemplate(enrol));
    var verify = VerifyFaceRequest.newBuilder().setName(name).setSample(photo(probe)).build();
    return call(() -> faces.withDeadlineAfter(DEADLINE_MS, TimeUnit.MILLISECONDS).verifyFace(verify)).getDecision();
  }

  private static Sample photo(String path) throws IOException {
    return Sample.newBuilder().setPhoto(ByteString.copyFrom(Files.readAllBytes(Path.of(path)))).build();
  }

  /**
   * Makes a call again when the service says after how long, and after a failed connection with pauses that grow.
   * Everything else is final.
   */
  private static <T> T call(Supplier<T> attempt) {
    long end = System.currentTimeMillis() + DEADLINE_MS;
    for (long pause = 100; ; pause = Math.min(2 * pause, 2000)) {
      try {
        return attempt.get();
      } catch (StatusRuntimeException error) {
        long wait = pause;
        Optional<RetryInfo> told = detail(error, RetryInfo.class);
        boolean unreached =
            error.getStatus().getCode() == Code.UNAVAILABLE && detail(error, ErrorInfo.class).isEmpty();
        if (told.isPresent()) {
          var delay = told.get().getRetryDelay();
          wait = delay.getSeconds() * 1000 + delay.getNanos() / 1_000_000;
        } else if (!unreached) {
          throw error;
        }
        if (System.currentTimeMillis() + wait >= end) throw error;
        try {
          Thread.sleep(wait);
        } catch (InterruptedException stop) {
          Thread.currentThread().interrupt();
          throw error;
        }
      }
    }
  }

  /** Returns the reason, which programs act on. If no service answered there is none; then the gRPC code is used. */
  private static String reasonOf(StatusRuntimeException error) {
    return detail(error, ErrorInfo.class).map(ErrorInfo::getReason).orElse(error.getStatus().getCode().name());
  }

  private static <T extends Message> Optional<T> detail(StatusRuntimeException error, Class<T> type) {
    var status = StatusProto.fromThrowable(error);
    if (status == null) return Optional.empty();
    for (Any one : status.getDetailsList()) {
      try {
        if (one.is(type)) return Optional.of(one.unpack(type));
      } catch (InvalidProtocolBufferException damaged) {
        return Optional.empty();
      }
    }
    return Optional.empty();
  }
}
