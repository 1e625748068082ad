package probe

// EncodeReport is the encoding that Main writes, for tests.
func EncodeReport(r Report) ([]byte, error) { return r.encode() }
