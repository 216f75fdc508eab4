//! Without any one of the rules the simulator finds something broken.
