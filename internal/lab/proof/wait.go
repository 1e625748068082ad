package proof

import (
	"io"
	"time"
)

// planted is how long a planted leak may take to be there.
const planted = 5 * time.Second

// copyAll copies a bounded stream.
func copyAll(w io.Writer, r io.Reader) (int64, error) { return io.Copy(w, io.LimitReader(r, 1<<20)) }
