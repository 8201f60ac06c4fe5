"""How good a copy of a model its answers give away: stealing by queries, and what carries over."""
