// Enrols one photo and verifies another: go run . ADDRESS GALLERY IDENTITY REFERENCE PROBE
// The exit codes are those of the command line: 0 match, 1 no match, 2 ambiguous, 3 error.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	v1 "example.com/app/gen/sameface/v1"
)

const maxMessage = 36 << 20

func main() {
	if len(os.Args) != 6 {
		fmt.Fprintln(os.Stderr, "usage: go run . ADDRESS GALLERY IDENTITY REFERENCE PROBE")
		os.Exit(3)
	}
	decision, err := enrolAndVerify(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %s\n", reasonOf(err), status.Convert(err).Message())
		os.Exit(3)
	}
	outcome := strings.TrimPrefix(decision.GetOutcome().String(), "OUTCOME_")
	fmt.Printf("%s: score %.3f, threshold %.3f\n", outcome, decision.GetScore(), decision.GetThreshold())
	os.Exit(map[v1.Outcome]int{v1.Outcome_OUTCOME_MATCH: 0, v1.Outcome_OUTCOME_NO_MATCH: 1, v1.Outcome_OUTCOME_AMBIGUOUS: 2}[decision.GetOutcome()])
}

func enrolAndVerify(address, gallery, identity, reference, probe string) (*v1.Decision, error) {
	connection, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(maxMessage), grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithUnaryInterceptor(repeat))
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	galleries, faces := v1.NewGalleryServiceClient(connection), v1.NewFaceServiceClient(connection)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	_, err = galleries.CreateGallery(ctx, &v1.CreateGalleryRequest{GalleryId: gallery})
	if err != nil && reasonOf(err) != "GALLERY_ALREADY_EXISTS" {
		return nil, err
	}
	name := fmt.Sprintf("galleries/%s/identities/%s", gallery, escaped(identity))
	sample, err := photo(reference)
	if err != nil {
		return nil, err
	}
	// Without a request_id the service recognises the photo, so a repeat does not enrol it twice.
	if _, err = faces.EnrollTemplate(ctx, &v1.EnrollTemplateRequest{Parent: name, Sample: sample, AllowMissing: true}); err != nil {
		return nil, err
	}
	if sample, err = photo(probe); err != nil {
		return nil, err
	}
	answer, err := faces.VerifyFace(ctx, &v1.VerifyFaceRequest{Name: name, Sample: sample})
	return answer.GetDecision(), err
}

func photo(path string) (*v1.Sample, error) {
	bytes, err := os.ReadFile(path)
	return &v1.Sample{Source: &v1.Sample_Photo{Photo: bytes}}, err
}

// repeat sends a call again, within its deadline, when the service says after how long; and, with pauses that grow,
// after a failed connection. Everything else is final.
func repeat(ctx context.Context, method string, request, answer any, connection *grpc.ClientConn, call grpc.UnaryInvoker, options ...grpc.CallOption) error {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		err := call(ctx, method, request, answer, connection, options...)
		wait := pause
		if info, told := detail[*errdetails.RetryInfo](err); told {
			wait = info.GetRetryDelay().AsDuration()
		} else if _, answered := detail[*errdetails.ErrorInfo](err); answered || status.Code(err) != codes.Unavailable {
			return err
		}
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < wait {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}

// reasonOf returns the reason, which programs act on. If no service answered there is none; then the gRPC code is used.
func reasonOf(err error) string {
	if info, answered := detail[*errdetails.ErrorInfo](err); answered {
		return info.GetReason()
	}
	return status.Code(err).String()
}

func detail[T any](err error) (found T, ok bool) {
	for _, one := range status.Convert(err).Details() {
		if found, ok = one.(T); ok {
			return found, true
		}
	}
	return found, false
}

// escaped returns the id of an identity as it stands in a name: it may be any text.
func escaped(identity string) string {
	var name strings.Builder
	for _, b := range []byte(identity) {
		if strings.IndexByte("-_.abcdefghijklmnopqrstuvwxyz0123456789", b) < 0 {
			fmt.Fprintf(&name, "~%02x", b)
		} else {
			name.WriteByte(b)
		}
	}
	return name.String()
}
