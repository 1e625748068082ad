package engine

import (
	"context"

	"mqtunnel/internal/plan"
)

// All lists every container on the Engine, whoever made it, in every state.
func (c *Client) All(ctx context.Context) ([]plan.Container, error) {
	return c.list(ctx, "list containers")
}
