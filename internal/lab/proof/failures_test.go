package proof

import "testing"

func TestFailuresAreToldWithWhatTheTestsSaid(t *testing.T) {
	const out = `=== RUN   TestGood
    good_test.go:7: all is well
--- PASS: TestGood (0.00s)
=== RUN   TestTable
=== RUN   TestTable/first
=== RUN   TestTable/second
=== NAME  TestTable/first
    table_test.go:3: got 1, want 2
=== NAME  TestTable/second
    table_test.go:4: fine
--- FAIL: TestTable (0.00s)
    --- FAIL: TestTable/first (0.00s)
    --- PASS: TestTable/second (0.00s)
=== RUN   TestLater
    later_test.go:9: not now
--- SKIP: TestLater (0.00s)
FAIL
FAIL	mqtunnel/internal/x	0.1s
FAIL	mqtunnel/internal/y [build failed]
`
	const want = "FAIL	mqtunnel/internal/y [build failed]; FAIL TestTable/first: table_test.go:3: got 1, want 2; SKIP TestLater: later_test.go:9: not now"
	if got := failures(out); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
