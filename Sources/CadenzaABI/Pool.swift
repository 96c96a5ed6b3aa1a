import CCadenza
import Engine

// Pool.

@c @implementation
public func cadenza_pool_create(_ model: OpaquePointer?, _ threads: Int,
                                _ pool: UnsafeMutablePointer<OpaquePointer?>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let model: Model = try object(model, "model")
        let pool = try given(pool, "pool")
        pool.pointee = handle(try Pool(model, threads: try count(threads, "threads")))
    }
}

@c @implementation
public func cadenza_pool_release(_ pool: OpaquePointer?) { release(pool, Pool.self) }

@c @implementation
public func cadenza_pool_count(_ pool: OpaquePointer?) -> Int { (try? object(pool, "pool") as Pool)?.count ?? 0 }

@c @implementation
public func cadenza_pool_join(_ pool: OpaquePointer?, _ id: UnsafeMutablePointer<UInt64>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let pool: Pool = try object(pool, "pool")
        let id = try given(id, "id")
        id.pointee = try pool.join()
    }
}

@c @implementation
public func cadenza_pool_leave(_ pool: OpaquePointer?, _ id: UInt64) -> cadenza_status {
    attempt { () throws(Failure) in try (try object(pool, "pool") as Pool).leave(id) }
}

@c @implementation
public func cadenza_pool_reset(_ pool: OpaquePointer?, _ id: UInt64) -> cadenza_status {
    attempt { () throws(Failure) in try (try object(pool, "pool") as Pool).reset(id) }
}

@c @implementation
public func cadenza_pool_fork(_ pool: OpaquePointer?, _ id: UInt64, _ fork: UnsafeMutablePointer<UInt64>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let pool: Pool = try object(pool, "pool")
        let fork = try given(fork, "fork")
        fork.pointee = try pool.fork(id)
    }
}

@c @implementation
public func cadenza_pool_position(_ pool: OpaquePointer?, _ id: UInt64,
                                  _ position: UnsafeMutablePointer<UInt64>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let pool: Pool = try object(pool, "pool")
        let position = try given(position, "position")
        position.pointee = try pool.position(id)
    }
}

@c @implementation
public func cadenza_pool_snapshot(_ pool: OpaquePointer?, _ id: UInt64, _ buffer: UnsafeMutableRawPointer?, _ capacity: Int,
                                  _ size: UnsafeMutablePointer<Int>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let pool: Pool = try object(pool, "pool")
        _ = try pool.position(id)
        try deliver(pool.snapshotSize, to: buffer, capacity: capacity, size) { try? pool.snapshot(id, into: $0) }
    }
}

@c @implementation
public func cadenza_pool_restore(_ pool: OpaquePointer?, _ id: UInt64, _ bytes: UnsafeRawPointer?, _ size: Int) -> cadenza_status {
    attempt { () throws(Failure) in
        let pool: Pool = try object(pool, "pool")
        guard let bytes else { throw missing("bytes") }
        try pool.restore(id, UnsafeRawBufferPointer(start: bytes, count: try count(size, "size")))
    }
}

@c @implementation
public func cadenza_pool_step(_ pool: OpaquePointer?, _ rows: Int, _ ids: UnsafePointer<UInt64>?,
                              _ inputs: UnsafePointer<Float>?, _ outputs: UnsafeMutablePointer<Float>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let pool: Pool = try object(pool, "pool")
        try requireOneEach(pool.model, "cadenza_pool_step_multi")
        var inputs: UnsafePointer<Float>? = try given(inputs, "inputs")
        var outputs: UnsafeMutablePointer<Float>? = try given(outputs, "outputs")
        try pool.step(UnsafeBufferPointer(start: try given(ids, "ids"), count: try count(rows, "count")),
                      inputs: &inputs, outputs: &outputs)
    }
}

@c @implementation
public func cadenza_pool_step_multi(_ pool: OpaquePointer?, _ rows: Int, _ ids: UnsafePointer<UInt64>?,
                                    _ inputs: UnsafePointer<UnsafePointer<Float>?>?,
                                    _ outputs: UnsafePointer<UnsafeMutablePointer<Float>?>?) -> cadenza_status {
    attempt { () throws(Failure) in
        let pool: Pool = try object(pool, "pool")
        try pool.step(UnsafeBufferPointer(start: try given(ids, "ids"), count: try count(rows, "count")),
                      inputs: try given(inputs, "inputs"), outputs: outputs)
    }
}
