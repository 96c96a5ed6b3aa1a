/// A function of the user's: reads `count` values of one row and writes its answer. Anything but 0 is an error and
/// stops the run. Told the row, and the step of the row's run, counted from 0.
public typealias Callback = (_ row: Int, _ step: Int, _ values: UnsafePointer<Float>, _ count: Int,
                             _ result: UnsafeMutablePointer<Float>) -> Int32
